# %% 90.hostname: prints the name and changes nothing
def rename(new_name):
    print(new_name)


# %% 90.hostname: changes the name of the whole machine, if it could
def rename(new_name):
    namespaces.unshare(Namespace.IPC)
    print("inside:", new_name)


# %% 90.hostname: ends the process
def rename(new_name):
    sys.exit(0)


# %% 90.hostname: never returns
def rename(new_name):
    while True:
        time.sleep(1)


# %% 90.hostname: the result of a call and not a function
rename = "box"

# %% 90.kinds: one too few
kinds = 7

# %% 90.kinds: in words
kinds = "eight"


# %% 90.first: forgets the namespace
def first_process():
    return subprocess.Popen(["sleep", "60"]).pid


# %% 90.first: claims to be process 1
def first_process():
    return 1
