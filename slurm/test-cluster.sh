#!/usr/bin/env bash
# A real SLURM cluster on one machine, for tests: no systemd, no cgroups, no accounting.
#   start [N]         a controller and N nodes (4), each with 4 CPUs and 4 fake GPUs; returns when all are up
#   stop              cancel all jobs and end the cluster's own processes
#   kill-node I       cut the power of node I: its daemon and all that runs on it die at once
#   start-node I      switch it on again
#   stop-controller   end the controller alone: jobs go on, nobody answers
#   start-controller  start it again; it knows its jobs
#   env               what a shell needs to use the cluster:  eval "$(slurm/test-cluster.sh env)"
# Needs root, and Debian's packages slurm-wlm and munge. The environment may say:
#   SLURM_TEST_ROOT   the folder of the cluster, with its logs (${TMPDIR:-/tmp}/suite-slurm)
#   SLURM_TEST_PORT0  first of N+1 ports in a row; unset: free ones, so that clusters can stand side by side
#   SLURM_TEST_KEEP   1: stop cancels no jobs, and start knows those of the cluster before; else all is fresh
set -euo pipefail

root=$(realpath -m "${SLURM_TEST_ROOT:-${TMPDIR:-/tmp}/suite-slurm}")
cpus=4 gpus=4 memory_mb=4000 # what each node claims to have; the machine may have less
export SLURM_CONF=$root/slurm.conf

die() { echo "test-cluster.sh: $*" >&2 && exit 1; }

check_machine() {
    [ "$(id -u)" -eq 0 ] || die "must be root: nodes have namespaces and device files of their own"
    for name in munged slurmctld slurmd sbatch unshare; do
        command -v "$name" >/dev/null || die "no $name on PATH: apt-get install slurm-wlm munge util-linux"
    done
}

wait_for() { # SECONDS COMMAND...
    local end=$((SECONDS + $1))
    until "${@:2}" >/dev/null 2>&1; do
        [ $SECONDS -le "$end" ] || die "not within $1 s: ${*:2}; logs: $root/log"
        sleep 0.05
    done
}

# Process ids are used again: one is ours only where its command line names our folder.
is_ours() { # PID-FILE
    [ -s "$1" ] && tr '\0' ' ' 2>/dev/null <"/proc/$(cat "$1")/cmdline" | grep -qF "$root/"
}

not_ours() { ! is_ours "$1"; }
gone() { # PID-FILE
    wait_for 20 not_ours "$1"
    rm -f "$1"
}

end() { # PID-FILE of a daemon
    ! is_ours "$1" || kill "$(cat "$1")" || true
    gone "$1"
}

# Below the ports that the kernel gives to outgoing connections: a daemon that is down must find its port free again.
free_ports() { # NUMBER: the first of so many
    local first port
    while first=$((10000 + RANDOM % 20000)); do
        for ((port = first; port < first + $1; port++)); do
            (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null && continue 2
        done
        echo "$first" && return
    done
}

# Addresses of nodes are all on the loopback; names are known on nodes alone, as /etc/hosts is not ours to change.
write_conf() { # NODES
    local nodes=$1 i port0 host
    port0=$(<"$root/port0") host=$(uname -n) host=${host%%.*}
    cp /etc/hosts "$root/hosts"
    cat >"$SLURM_CONF" <<CONF
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$port0
SlurmUser=root
# A requeued job waits until its old credential is void: 120 s by default; less than 5 is not accepted.
AuthInfo=socket=$root/run/munge.sock,cred_expire=5
AccountingStorageType=accounting_storage/none
StateSaveLocation=$root/state
SlurmctldPidFile=$root/run/slurmctld.pid
SlurmctldLogFile=$root/log/slurmctld.log
SlurmdPidFile=$root/run/slurmd-%n.pid
SlurmdLogFile=$root/log/slurmd-%n.log
SlurmdSpoolDir=$root/spool/%n
# Works in a container: memory is reserved, not enforced; nodes may claim more than the machine has.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
PropagateResourceLimits=NONE
MailProg=/bin/true
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=100
SchedulerType=sched/backfill
SchedulerParameters=sched_min_interval=0,sched_interval=1,bf_interval=1,batch_sched_delay=0
MaxJobCount=20000
MaxArraySize=10001
MinJobAge=300
JobRequeue=1
# What can never run is refused by sbatch, instead of waiting for ever.
EnforcePartLimits=ALL
OverTimeLimit=0
KillWait=5
SlurmdTimeout=10
# A node that comes back is used again.
ReturnToService=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
# A preempted job gets the signal it asked for (sbatch --signal), not TERM alone.
SlurmctldParameters=preempt_send_user_signal
GresTypes=gpu
CONF
    for ((i = 1; i <= nodes; i++)); do
        mkdir -p "$root/spool/node$i"
        echo "127.0.0.$((10 + i)) node$i" >>"$root/hosts"
        echo "NodeName=node$i NodeHostname=$host NodeAddr=127.0.0.$((10 + i)) Port=$((port0 + i))" \
            "CPUs=$cpus CoresPerSocket=$cpus RealMemory=$memory_mb Gres=gpu:$gpus" >>"$SLURM_CONF"
    done
    cat >>"$SLURM_CONF" <<CONF
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE DefaultTime=60 PriorityTier=1 GraceTime=20
PartitionName=high Nodes=ALL MaxTime=INFINITE DefaultTime=60 PriorityTier=10 PreemptMode=OFF
CONF
    # Without device files slurmd counts no GPUs; these are /dev/null under other names.
    for ((i = 0; i < gpus; i++)); do [ -e "$root/nvidia$i" ] || mknod "$root/nvidia$i" c 1 3; done
    echo "Name=gpu File=$root/nvidia[0-$((gpus - 1))] AutoDetect=off" >"$root/gres.conf"
    printf 'CgroupPlugin=cgroup/v1\nCgroupAutomount=no\n' >"$root/cgroup.conf" # no systemd is asked for
}

# Daemons get files for their output: one that held the caller's pipe would keep its reader waiting.
start_munge() { # with a key and a socket of its own; --force: root may run it out of our folder
    [ -s "$root/munge.key" ] || (umask 077 && head -c 128 /dev/urandom >"$root/munge.key")
    munged --force --key-file="$root/munge.key" --socket="$root/run/munge.sock" --pid-file="$root/run/munged.pid" \
        --log-file="$root/log/munged.log" --seed-file="$root/munge.seed" </dev/null >>"$root/log/start.log" 2>&1
    wait_for 10 test -S "$root/run/munge.sock"
}

start_controller() {
    slurmctld -f "$SLURM_CONF" </dev/null >>"$root/log/start.log" 2>&1
    wait_for 20 scontrol ping
}

# A node has a host name, a hosts file and processes of its own: when its process 1 is killed, all are.
# -b: it says that it has just booted. Jobs that were on a node are missed when it is away for SlurmdTimeout, or comes
# back and they had run for 20 s; younger ones when nodes are asked for their jobs next, which may take a minute.
start_node() { # I
    is_ours "$root/run/node$1.pid" && die "node$1 is running"
    # shellcheck disable=SC2016
    setsid unshare --mount --uts --pid --fork --kill-child=KILL --mount-proc bash -c '
        hostname "$1"
        mount --bind "$2" /etc/hosts
        slurmd -D -b -N "$1" -f "$3" &
        wait $!' bash "node$1" "$root/hosts" "$SLURM_CONF" </dev/null >>"$root/log/start.log" 2>&1 &
    echo $! >"$root/run/node$1.pid"
}

cut_power() { # PID-FILE of a node; unshare waits until all that ran there is gone
    local pid children
    if is_ours "$1"; then
        pid=$(<"$1") children=$(<"/proc/$pid/task/$pid/children")
        # shellcheck disable=SC2086
        kill -KILL ${children:-$pid} || true
    fi
    gone "$1"
}

all_up() { [ "$(sinfo --noheader --Node --partition=main --format=%T | grep -cxE 'idle|mixed|allocated')" -eq "$1" ]; }

start() { # NODES
    local nodes=$1 i
    [ -e "$root/run/munged.pid" ] && die "$root: there is a cluster already; stop it first"
    # Only what a cluster has made is removed: the folder may be a wrong one.
    [ -e "$root/port0" ] || [ -z "$(ls -A "$root" 2>/dev/null)" ] || die "$root: neither empty nor of a cluster"
    [ "${SLURM_TEST_KEEP:-}" = 1 ] || rm -rf "$root"
    mkdir -p "$root"/{log,run,state,spool}
    [ -s "$root/port0" ] || echo "${SLURM_TEST_PORT0:-$(free_ports $((nodes + 1)))}" >"$root/port0"
    write_conf "$nodes"
    trap stop EXIT # no half of a cluster stays
    start_munge
    start_controller
    for ((i = 1; i <= nodes; i++)); do start_node "$i"; done
    wait_for 40 all_up "$nodes"
    trap - EXIT
}

stop() {
    local file keep=${SLURM_TEST_KEEP:-}
    if [ "$keep" != 1 ] && is_ours "$root/run/slurmctld.pid"; then timeout 20 scancel --user=root || true; fi
    for file in "$root"/run/node*.pid; do cut_power "$file"; done
    end "$root/run/slurmctld.pid"
    end "$root/run/munged.pid"
}

case ${1:-} in
env) printf 'export SLURM_CONF=%q\n' "$SLURM_CONF" ;;
start) check_machine && start "${2:-4}" ;;
stop) stop ;;
kill-node) cut_power "$root/run/node${2:?which node}.pid" ;;
start-node) check_machine && start_node "${2:?which node}" ;;
stop-controller) end "$root/run/slurmctld.pid" ;;
start-controller) check_machine && start_controller ;;
*) sed -n '2,/^set/{/^#/p}' "$0" >&2 && exit 2 ;;
esac
