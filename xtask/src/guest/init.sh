#!/bin/busybox sh
# PID 1 of a guest: mounts what a node would have, runs /run.sh, hands its output and exit status to the host over
# the second serial port (which the kernel's command line names: `crashtrace.results=ttyS1`), and powers off. The
# host's side of the protocol is guest/serial.rs.
#
# What /run.sh can rely on:
# - Its stdout and stderr are the second serial port, a terminal device in raw mode. Nothing needs a reader in the
#   guest that an OOM could kill. What must see a pipe or a file gets one from /run.sh.
# - Its oom_score_adj is 0, and so is that of everything it starts. PID 1 needs no -1000: the kernel never picks it.
# - It runs in the root cgroup, with the controllers enabled for children. `crashtrace.cgroup=v1` on the kernel's
#   command line gives a v1 memory hierarchy at /sys/fs/cgroup/memory instead.
# - /dev/zram0 is there if the kernel's package has zram. If not, the console says so.

finish() {
    # Setting the port's mode waits until all that was written has left it (TCSADRAIN): power off after that.
    stty -F $results raw -echo
    poweroff -f
    sleep 1000 # PID 1 must not return before the machine is off: that is a panic.
}

# The leading newline ends whatever line is unfinished; the host takes it away again.
say() { printf '\n%s\n' "crashtrace-guest: $*" >$results; }

fail() {
    echo "crashtrace-guest: $*" >/dev/console
    say "failed $*"
    finish
}

# must_mount TYPE OPTIONS PLACE
must_mount() {
    mkdir -p "$3" && mount -t "$1" -o "$2" "$1" "$3" || fail "cannot mount $1 ($2) at $3"
}

# /proc first: --install finds its own path there. Until it ran there are no commands but busybox.
/bin/busybox mkdir -p /proc
/bin/busybox mount -t proc proc /proc
/bin/busybox --install -s /bin
export PATH=/bin:/sbin:/usr/bin HOME=/ TERM=dumb

mount -t devtmpfs devtmpfs /dev
results=/dev/$(sed -n 's/.*crashtrace\.results=\([^ ]*\).*/\1/p' /proc/cmdline)
stty -F $results raw -echo
printf '%s\n' "crashtrace-guest: started" >$results

must_mount sysfs rw /sys
must_mount tmpfs mode=1777 /tmp
must_mount tmpfs mode=755 /run
must_mount tmpfs mode=1777 /dev/shm
must_mount devpts mode=620 /dev/pts
must_mount tracefs rw /sys/kernel/tracing
must_mount debugfs rw /sys/kernel/debug
must_mount securityfs rw /sys/kernel/security
must_mount bpf mode=700 /sys/fs/bpf
ln -s /proc/self/fd /dev/fd
hostname guest
ip link set lo up || fail "cannot bring lo up"
echo 1 >/proc/sys/kernel/sysrq # All of it: Debian's default leaves out what tests trigger.

if grep -qw 'crashtrace.cgroup=v1' /proc/cmdline; then
    must_mount tmpfs mode=755 /sys/fs/cgroup
    must_mount cgroup memory /sys/fs/cgroup/memory
    # Before 5.11 a limit does not hold for the cgroups below unless this is set, which systemd does on a node.
    hierarchy=/sys/fs/cgroup/memory/memory.use_hierarchy
    [ ! -e $hierarchy ] || echo 1 >$hierarchy || fail "no hierarchy of memory limits"
else
    must_mount cgroup2 rw /sys/fs/cgroup
    for controller in memory cpu pids cpuset; do
        # A guest may have it off: `cgroup_disable=memory`.
        [ $controller != memory ] || grep -qw memory /sys/fs/cgroup/cgroup.controllers || continue
        echo +$controller >/sys/fs/cgroup/cgroup.subtree_control || fail "no $controller controller"
    done
fi

for module in /modules/*.ko; do
    [ -e "$module" ] || break # None: the host has said why.
    insmod "$module" || echo "crashtrace-guest: cannot load $module" >/dev/console
done
[ -b /dev/zram0 ] || echo "crashtrace-guest: no zram in this guest" >/dev/console
rm -rf /modules # What they take in memory is wanted.

/bin/sh /run.sh </dev/null >$results 2>&1
say "ended $?"
finish
