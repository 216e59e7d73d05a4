#!/bin/sh
echo four
