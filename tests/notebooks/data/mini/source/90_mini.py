# ---
# jupyter:
#   kernelspec: {display_name: Python 3 (ipykernel), language: python, name: python3}
# ---

# %% [markdown]
# # 90 · A small chapter
#
# It proves the machinery: a child, a magic, a failure on purpose, three exercises.

# %% tags=["parameters"]
name = "box"

# %%
from labkit import course
from labkit.kernel.limits import Limits

course.start("90")

# %% [markdown]
# A hostname belongs to a namespace. **Before you run it:** which name does the last line print?

# %% tags=["nbval-check-output"]
course.child(
    """
    socket.sethostname(name)
    print("inside:", socket.gethostname(), "as process", os.getpid())
    """,
    namespaces="uts,pid",
    name=name,
)

# %% tags=["nbval-check-output"]
# %%child --new uts
# socket.sethostname(name + "-2")
# print(socket.gethostname())

# %% tags=["nbval-check-output"]
# %%sh --new net
# for link in /sys/class/net/*; do echo "$name has ${link##*/}"; done
# # and nothing else
# ip -o link | wc -l

# %% [markdown]
# A process that has more than one thread cannot leave its user namespace.

# %% tags=["nbval-check-output"]
course.fails(
    """
    import threading
    threading.Thread(target=time.sleep, args=(1,), daemon=True).start()
    namespaces.unshare(Namespace.USER)
    """
)

# %% tags=["nbval-check-output"]
with course.expected_failure(FileNotFoundError):
    open("/nowhere")

# %%
directory = course.scratch("layers")
group = course.cgroup("small", Limits(processes=20))
(directory / "file").write_text("kept")

# %% tags=["nbval-ignore-output"]
import os

print("a number that differs each time:", os.getpid())

# %% tags=["nbval-ignore-output"]
# %%trace
group.limit(Limits(processes=21))

# %% [markdown]
# ## Exercises


# %%
def rename(new_name):
    """Give this process a hostname of its own, which nobody else sees."""
    ### BEGIN SOLUTION
    namespaces.unshare(Namespace.UTS)
    socket.sethostname(new_name)
    ### END SOLUTION


# %%
course.check("90.hostname", rename)

# %% [markdown]
# How many kinds of namespaces are there?

# %%
kinds = ...
### BEGIN SOLUTION
kinds = 8
### END SOLUTION

# %%
course.check("90.kinds", kinds)
### BEGIN HIDDEN TESTS
assert isinstance(kinds, int)
### END HIDDEN TESTS


# %%
def first_process():
    """Start `sleep` as process 1 of a pid namespace of its own; return its pid as seen from here."""
    ### BEGIN SOLUTION
    namespaces.unshare(Namespace.PID)
    return subprocess.Popen(["sleep", "60"]).pid
    ### END SOLUTION


# %%
course.check("90.first", first_process)

# %%
course.finish()
