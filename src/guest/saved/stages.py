# Runs cloud-init's stages as a boot does, each in a process of its own. Reading cloud-init's modules takes longer than the work of a
# stage: this is started before the guest is saved, reads them, and then waits. In the folder argv[1] it reads from the pipe `ask` the
# arguments of one stage at a time, and writes to the pipe `answer` at first `ready`, or why it cannot do anything, then what waitpid(2)
# says of each stage. After `last` and the arguments of a stage, which nobody waits for, it removes the folder and ends.
import importlib
import os
import pkgutil
import shutil
import sys

folder = os.path.abspath(sys.argv[1])
nothing = os.open(os.devnull, os.O_RDWR)
for fd in range(3):
    os.dup2(nothing, fd)
os.chdir("/")
usable = False
try:
    from cloudinit.cmd import main

    for name in ("config", "distros", "handlers", "net", "sources.DataSourceNoCloud"):
        module = importlib.import_module("cloudinit." + name)
        for found in pkgutil.iter_modules(getattr(module, "__path__", [])):
            try:
                importlib.import_module("cloudinit.%s.%s" % (name, found.name))
            except Exception:
                pass  # cloud-init itself uses it only where its libraries are there
    status, usable = "ready", True
except Exception as error:
    status = " ".join(repr(error).split())
last = False
while not last:
    with open(folder + "/answer", "w") as pipe:
        pipe.write(status + "\n")
    if not usable:
        break
    with open(folder + "/ask") as pipe:
        arguments = pipe.readline().split()
    last = arguments[:1] == ["last"]
    arguments = arguments[last:]
    child = os.fork()
    if child == 0:
        done = 1
        try:
            # By this name netlab finds that cloud-init runs.
            with open("/proc/self/comm", "w") as name:
                name.write("cloud-init")
            done = int(bool(main.main(["cloud-init"] + arguments)))
        except SystemExit as ended:
            done = int(bool(ended.code))
        finally:
            sys.stdout.flush()
            os._exit(done)
    status = str(os.waitpid(child, 0)[1])
shutil.rmtree(folder, ignore_errors=True)
