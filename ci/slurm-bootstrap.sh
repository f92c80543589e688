#!/usr/bin/env bash
# Gives a continuous integration machine a SLURM cluster of one node: this machine.
#
# Only for machines that are thrown away: as root it installs packages, writes /etc/slurm/slurm.conf and starts
# munged, slurmctld and slurmd. A cluster that answers already is left as it is.
# The last line on standard error says what is missing when it fails.
set -euo pipefail
CONF=/etc/slurm/slurm.conf

log() { echo "slurm-bootstrap: $*" >&2; }
answers() { timeout 10 sinfo --noheader --states=idle,mixed,allocated 2>/dev/null | grep -q .; }

answers && exit 0
[[ $(id -u) == 0 ]] || { log "making a cluster needs root"; exit 1; }

if ! command -v slurmctld munged >/dev/null; then
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq && apt-get install -qq --yes --no-install-recommends slurm-wlm munge >/dev/null \
    || { log "could not install slurm-wlm and munge"; exit 1; }
fi

mkdir -p /etc/slurm /run/munge /var/log/munge /var/lib/munge /var/spool/slurmctld /var/spool/slurmd /var/log/slurm
[[ -e /etc/munge/munge.key ]] || { mkdir -p /etc/munge; head -c 1024 /dev/urandom > /etc/munge/munge.key; }
chmod 0400 /etc/munge/munge.key
chown -R munge:munge /etc/munge /run/munge /var/log/munge /var/lib/munge
chmod 0755 /run/munge

# Two CPUs of each core are promised, so that a waiting job and a computing one fit on any machine.
name=$(hostname -s)
memory=$(awk '/MemTotal/ { print int($2 / 1024 * 0.9) }' /proc/meminfo)
cat > "$CONF" <<END
ClusterName=ci
SlurmctldHost=$name(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=batch_sched_delay=0,sched_interval=1,requeue_delay=0
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
ReturnToService=2
SlurmdParameters=config_overrides
KillWait=15
MinJobAge=60
StateSaveLocation=/var/spool/slurmctld
SlurmdSpoolDir=/var/spool/slurmd
SlurmctldPidFile=/run/slurmctld.pid
SlurmdPidFile=/run/slurmd.pid
SlurmctldLogFile=/var/log/slurm/slurmctld.log
SlurmdLogFile=/var/log/slurm/slurmd.log
NodeName=$name NodeAddr=127.0.0.1 CPUs=$(nproc) RealMemory=$memory State=UNKNOWN
PartitionName=main Nodes=$name Default=YES MaxTime=INFINITE State=UP DefMemPerCPU=100
END

pgrep -x munged >/dev/null || runuser -u munge -- munged >&2 || { log "munged does not start"; exit 1; }
pgrep -x slurmctld >/dev/null || slurmctld >&2 || { log "slurmctld does not start"; exit 1; }
pgrep -x slurmd >/dev/null || slurmd >&2 || { log "slurmd does not start"; exit 1; }
for _ in $(seq 30); do
  answers && exit 0
  scontrol update nodename="$name" state=resume >/dev/null 2>&1 || true
  sleep 1
done
log "the node does not come up, see /var/log/slurm"
exit 1
