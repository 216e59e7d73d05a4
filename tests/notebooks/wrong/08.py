# %% 08.logical_lines: every line is an instruction
def logical_lines(text):
    found = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip() and not line.strip().startswith("#"):
            keyword, _, rest = line.strip().partition(" ")
            found.append((number, keyword.upper(), rest.strip()))
    return found


# %% 08.logical_lines: glues the lines first, so that a comment in the middle swallows the rest
def logical_lines(text):
    found, number = [], 1
    for line in re.sub(r"(?<!\\)\\[ \t]*\n", lambda gone: "\0", text).split("\n"):
        whole = line.replace("\0", "").strip()
        if whole and not whole.startswith("#"):
            keyword, *rest = whole.split(None, 1)
            found.append((number, keyword.upper(), rest[0] if rest else ""))
        number += 1 + line.count("\0")
    return found


# %% 08.logical_lines: takes every # for the beginning of a comment
def logical_lines(text):
    found, begun, whole = [], 0, ""
    for number, line in enumerate(text.split("\n"), 1):
        line = line.partition("#")[0]
        if not line.strip():
            continue
        begun = begun or number
        bare = line.rstrip()
        goes_on = bare.endswith("\\") and not bare.endswith("\\\\")
        whole += bare[:-1] if goes_on else line
        if not goes_on:
            keyword, *rest = whole.split(None, 1)
            found.append((begun, keyword.upper(), rest[0].strip() if rest else ""))
            begun, whole = 0, ""
    return found


# %% 08.logical_lines: says the line on which an instruction ends
def logical_lines(text):
    found, whole = [], ""
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip() or line.strip().startswith("#"):
            continue
        bare = line.rstrip()
        goes_on = bare.endswith("\\") and not bare.endswith("\\\\")
        whole += bare[:-1] if goes_on else line
        if not goes_on:
            keyword, *rest = whole.split(None, 1)
            found.append((number, keyword.upper(), rest[0].strip() if rest else ""))
            whole = ""
    return found


# %% 08.logical_lines: does not know that two backslashes are no end
def logical_lines(text):
    found, begun, whole = [], 0, ""
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip() or line.strip().startswith("#"):
            continue
        begun = begun or number
        bare = line.rstrip()
        whole += bare[:-1] if bare.endswith("\\") else line
        if not bare.endswith("\\"):
            keyword, *rest = whole.split(None, 1)
            found.append((begun, keyword.upper(), rest[0].strip() if rest else ""))
            begun, whole = 0, ""
    return found


# %% 08.logical_lines: asks the parser that it is to be compared with, and hands on what that has kept of it
def logical_lines(text):
    from labkit.build import dockerfile

    return [(one.line, one.keyword, " ".join(one.words)) for one in dockerfile.parse(text).instructions]


# %% 08.expand: replaces plain names, as string.Template does
def expand(text, values):
    import string

    return string.Template(text).safe_substitute(values)


# %% 08.expand: by a pattern, which cannot count brackets
def expand(text, values):
    def one(found):
        name, how, word = found[1] or found[2], found[3] or "", found[4] or ""
        value = values.get(name)
        there = bool(value) if ":" in how else value is not None
        if how.endswith("+"):
            return word if there else ""
        return value if there else word

    return re.sub(r"\$(?:(\w+)|\{(\w+)(?:(:?[-+])([^}]*))?\})", one, text)


# %% 08.expand: takes what is empty for what is missing, with a colon or without
def expand(text, values):
    def read(at, stop):
        made = ""
        while at < len(text) and text[at] != stop:
            if text[at] == "\\":
                made, at = made + text[at + 1 : at + 2], at + 2
            elif text[at] != "$":
                made, at = made + text[at], at + 1
            else:
                value, at = variable(at + 1)
                made += value
        return made, at + 1

    def variable(at):
        braces = text[at] == "{"
        name = re.match(r"\w+", text[at + braces :]).group()
        at += braces + len(name)
        value = values.get(name, "")
        if not braces:
            return value, at
        at += text[at] == ":"
        how = text[at]
        if how == "}":
            return value, at + 1
        word, at = read(at + 1, "}")
        return (value or word if how == "-" else value and word), at

    return read(0, "")[0]


# %% 08.expand: fills in again what a value has brought along, and never sees a backslash
def expand(text, values):
    for name in sorted(values, key=len, reverse=True):
        text = text.replace(f"${{{name}}}", values[name]).replace(f"${name}", values[name])
    return re.sub(r"\$\w+", "", text)


# %% 08.process_one: lets the shell form of ENTRYPOINT ignore CMD, as many a text has it
def process_one(entrypoint, command, words):
    if isinstance(entrypoint, str):
        return ["/bin/sh", "-c", entrypoint]
    given = words or (["/bin/sh", "-c", command] if isinstance(command, str) else command or [])
    return [*(entrypoint or []), *given]


# %% 08.process_one: adds the words of run to those of CMD
def process_one(entrypoint, command, words):
    def listed(form):
        return ["/bin/sh", "-c", form] if isinstance(form, str) else list(form or [])

    return listed(entrypoint) + listed(command) + words


# %% 08.process_one: parts the shell form at its spaces, and needs no shell
def process_one(entrypoint, command, words):
    def listed(form):
        return form.split() if isinstance(form, str) else list(form or [])

    return listed(entrypoint) + (words or listed(command))


# %% 08.process_one: lets the words of run take the place of all
def process_one(entrypoint, command, words):
    def listed(form):
        return ["/bin/sh", "-c", form] if isinstance(form, str) else list(form or [])

    return words or listed(entrypoint) + listed(command)


# %% 08.dockerfile: copies the token in, and removes it
dockerfile_text = """
FROM lab/busybox
RUN echo 'app:x:4242:4242::/srv/app:/bin/sh' >> /etc/passwd
WORKDIR /srv/app
COPY serve token ./
RUN sha256sum < token > token.sha256 && rm token && chown app .
ENV MODE=production
LABEL org.opencontainers.image.title=serve
USER app
ENTRYPOINT ["/srv/app/serve"]
CMD ["--port", "8080"]
"""

# %% 08.dockerfile: leaves the entrypoint to a shell, which has something to say afterwards
dockerfile_text = """
FROM lab/busybox
RUN echo 'app:x:4242:4242::/srv/app:/bin/sh' >> /etc/passwd
WORKDIR /srv/app
COPY serve .
RUN --mount=type=secret,id=token sha256sum < /run/secrets/token > token.sha256 && chown app .
ENV MODE=production
LABEL org.opencontainers.image.title=serve
USER app
ENTRYPOINT /srv/app/serve --port 8080; echo over
"""

# %% 08.dockerfile: has all in CMD, so that words take the server's place
dockerfile_text = """
FROM lab/busybox
RUN echo 'app:x:4242:4242::/srv/app:/bin/sh' >> /etc/passwd
WORKDIR /srv/app
COPY serve .
RUN --mount=type=secret,id=token sha256sum < /run/secrets/token > token.sha256 && chown app .
ENV MODE=production
LABEL org.opencontainers.image.title=serve
USER app
CMD ["/srv/app/serve", "--port", "8080"]
"""

# %% 08.dockerfile: becomes app, and leaves it a directory of root
dockerfile_text = """
FROM lab/busybox
RUN echo 'app:x:4242:4242::/srv/app:/bin/sh' >> /etc/passwd
WORKDIR /srv/app
COPY --chown=app serve .
RUN --mount=type=secret,id=token sha256sum < /run/secrets/token > token.sha256
ENV MODE=production
LABEL org.opencontainers.image.title=serve
USER app
ENTRYPOINT ["/srv/app/serve"]
CMD ["--port", "8080"]
"""

# %% 08.dockerfile: gives the number alone, and nobody has that name
dockerfile_text = """
FROM lab/busybox
WORKDIR /srv/app
COPY serve .
RUN --mount=type=secret,id=token sha256sum < /run/secrets/token > token.sha256 && chown 4242 .
ENV MODE=production
LABEL org.opencontainers.image.title=serve
USER 4242
ENTRYPOINT ["/srv/app/serve"]
CMD ["--port", "8080"]
"""

# %% 08.dockerfile: an export that does not last
dockerfile_text = """
FROM lab/busybox
RUN echo 'app:x:4242:4242::/srv/app:/bin/sh' >> /etc/passwd
WORKDIR /srv/app
COPY serve .
RUN --mount=type=secret,id=token sha256sum < /run/secrets/token > token.sha256 && chown app .
RUN export MODE=production
LABEL org.opencontainers.image.title=serve
USER app
ENTRYPOINT ["/srv/app/serve"]
CMD ["--port", "8080"]
"""

# %% 08.dockerfile: hands the words on, and keeps the shell as process 1
dockerfile_text = """
FROM lab/busybox
RUN echo 'app:x:4242:4242::/srv/app:/bin/sh' >> /etc/passwd
WORKDIR /srv/app
COPY serve .
RUN --mount=type=secret,id=token sha256sum < /run/secrets/token > token.sha256 && chown app .
ENV MODE=production
LABEL org.opencontainers.image.title=serve
USER app
ENTRYPOINT ["/bin/sh", "-c", "/srv/app/serve \\"$@\\"; true", "sh"]
CMD ["--port", "8080"]
"""
