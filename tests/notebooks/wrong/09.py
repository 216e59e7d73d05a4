# %% 09.copy_key: the words alone
def copy_key(parent, words, directory):
    return sha256(parent, words)


# %% 09.copy_key: goes by times, as make(1) does
def copy_key(parent, words, directory):
    facts = [parent, words]
    for path in sorted(Path(directory).rglob("*")):
        facts.append((str(path.relative_to(directory)), path.lstat().st_mode, path.lstat().st_mtime_ns))
    return sha256(facts)


# %% 09.copy_key: all contents in one row, so that names and bounds are lost
def copy_key(parent, words, directory):
    total = hashlib.sha256(f"{parent}\0{words}".encode())
    for path in sorted(Path(directory).rglob("*")):
        if path.is_file():
            total.update(path.read_bytes())
    return total.hexdigest()


# %% 09.copy_key: forgets the modes
def copy_key(parent, words, directory):
    facts = [parent, words]
    for path in sorted(Path(directory).rglob("*")):
        content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else ""
        facts.append((str(path.relative_to(directory)), path.is_dir(), path.is_symlink(), content))
    return sha256(facts)


# %% 09.copy_key: looks through links
def copy_key(parent, words, directory):
    facts = [parent, words]
    for path in sorted(Path(directory).rglob("*")):
        content = path.read_bytes() if path.is_file() else ""
        facts.append((str(path.relative_to(directory)), path.stat().st_mode, content))
    return sha256(facts)


# %% 09.copy_key: the whole path is in it
def copy_key(parent, words, directory):
    facts = [parent, words]
    for path in sorted(Path(directory).rglob("*")):
        content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else ""
        facts.append((str(path), path.lstat().st_mode, content))
    return sha256(facts)


# %% 09.copy_key: ground and words run into each other
def copy_key(parent, words, directory):
    facts = [parent + words]
    for path in sorted(Path(directory).rglob("*")):
        content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else ""
        facts.append((str(path.relative_to(directory)), path.lstat().st_mode, content))
    return sha256(facts)


# %% 09.order: as it was
ordered = """\
FROM lab/busybox
ARG VERSION=0
WORKDIR /app
COPY . .
RUN sh tools/install requirements /opt/installed
RUN sh tools/assemble src /app/assembled
RUN echo "$VERSION" > /app/version
CMD ["cat", "/opt/installed", "/app/assembled", "/app/version"]
"""

# %% 09.order: the version is still at the top
ordered = """\
FROM lab/busybox
ARG VERSION=0
WORKDIR /app
COPY tools/install tools/
COPY requirements ./
RUN sh tools/install requirements /opt/installed
COPY tools/assemble tools/
COPY src src
RUN sh tools/assemble src /app/assembled
RUN echo "$VERSION" > /app/version
CMD ["cat", "/opt/installed", "/app/assembled", "/app/version"]
"""

# %% 09.order: both tools come at once
ordered = """\
FROM lab/busybox
WORKDIR /app
COPY tools tools
COPY requirements ./
RUN sh tools/install requirements /opt/installed
COPY src src
RUN sh tools/assemble src /app/assembled
ARG VERSION=0
RUN echo "$VERSION" > /app/version
CMD ["cat", "/opt/installed", "/app/assembled", "/app/version"]
"""

# %% 09.order: all the rest comes too early for a README
ordered = """\
FROM lab/busybox
WORKDIR /app
COPY tools/install tools/
COPY requirements ./
RUN sh tools/install requirements /opt/installed
COPY . .
RUN sh tools/assemble src /app/assembled
ARG VERSION=0
RUN echo "$VERSION" > /app/version
CMD ["cat", "/opt/installed", "/app/assembled", "/app/version"]
"""

# %% 09.order: quick, because it does nothing anew
ordered = """\
FROM lab/busybox
WORKDIR /app
RUN --mount=type=cache,target=/kept --mount=type=bind,target=/context \
    cd /context; [ -e /kept/installed ] || sh tools/install requirements /kept/installed; \
    [ -e /kept/assembled ] || sh tools/assemble src /kept/assembled; \
    mkdir -p /opt; cp /kept/installed /opt; cp /kept/assembled /app
ARG VERSION=0
RUN echo "$VERSION" > /app/version
CMD ["cat", "/opt/installed", "/app/assembled", "/app/version"]
"""

# %% 09.ignore: the patterns of .gitignore
ignored = """\
.git
node_modules
.env
.env.*
!.env.example
data
!data/schema.sql
"""

# %% 09.ignore: the exception comes too early
ignored = """\
!**/.env.example
!data/schema.sql
.git
**/node_modules
**/.env
**/.env.*
data
"""

# %% 09.ignore: takes whatever begins like it
ignored = """\
.git
**/node_modules
**/.env*
!**/.env.example
data
!data/schema.sql
"""

# %% 09.ignore: takes the directories of others, too
ignored = """\
**/.git
**/node_modules
**/.env
**/.env.*
!**/.env.example
**/data
!**/data/schema.sql
"""

# %% 09.ignore: lets in again what nobody has asked for
ignored = """\
.git
**/node_modules
**/.env
**/.env.*
!**/.env.example
data
!**/schema.sql
"""

# %% 09.smallest: one stage, and the compiler removed
smallest = """\
FROM lab/gcc
COPY main.c word.h ./
RUN gcc -Os -static -s -o program main.c && rm -rf /usr/lib/gcc main.c word.h
CMD ["/program"]
"""

# %% 09.smallest: needs an interpreter that is not there
smallest = """\
FROM lab/gcc AS compile
COPY main.c word.h ./
RUN gcc -Os -s -o program main.c
FROM scratch
COPY --from=compile /program /program
CMD ["/program"]
"""

# %% 09.smallest: on busybox, for a look around
smallest = """\
FROM lab/gcc AS compile
COPY main.c word.h ./
RUN gcc -Os -static -s -o program main.c
FROM lab/busybox
COPY --from=compile /program /program
CMD ["/program"]
"""

# %% 09.smallest: takes the sources along
smallest = """\
FROM lab/gcc AS compile
WORKDIR /src
COPY main.c word.h ./
RUN gcc -Os -static -s -o program main.c
FROM scratch
COPY --from=compile /src /
CMD ["/program"]
"""

# %% 09.smallest: a command that only a shell would understand
smallest = """\
FROM lab/gcc AS compile
COPY main.c word.h ./
RUN gcc -Os -static -s -o program main.c
FROM scratch
COPY --from=compile /program /program
CMD /program
"""
