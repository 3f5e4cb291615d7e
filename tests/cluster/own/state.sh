# shellcheck shell=bash disable=SC2154
# The running node as seen from outside: entering it, and removing it. To be sourced, after env.sh.

require_root() {
  [[ $(uname) == Linux && $EUID == 0 ]] || die "the project's own cluster needs root on Linux"
}

# in_node OPTION COMMAND… runs COMMAND in the node's network (-n), or in its network and file system (-nm).
in_node() {
  local pid options=()
  pid=$(recorded "$node_pid_file") || die "no cluster is running: tests/cluster/up"
  [[ $1 != *m* ]] || options+=(--mount)
  shift
  nsenter --target "$pid" --net "${options[@]}" -- "$@"
}

# remove_node ends the node, running or half started, and removes all that it left. Processes, mounts, network
# interfaces and rules live in the node's namespaces and end with its first process.
remove_node() {
  local pid first
  if pid=$(recorded "$node_pid_file"); then
    first=$(first_process "$pid")
    kill -KILL "${first:-$pid}"
    # The first process is gone only when the kernel has ended all others.
    await_gone "$pid" ${first:+"$first"}
  fi
  remove_cgroups
  rm -rf --one-file-system "$state_dir" "$run_dir"
}

# first_process PID prints the child of unshare, number 1 of the node's process namespace.
first_process() {
  local status
  status=$(grep -ls "^PPid:[[:space:]]*$1\$" /proc/[0-9]*/status | head -n 1)
  [[ $status =~ [0-9]+ ]] && echo "${BASH_REMATCH[0]}"
}

await_gone() {
  local pid end=$((SECONDS + 20))
  for pid in "$@"; do
    while process_mark "$pid" >/dev/null; do
      ((SECONDS < end)) || die "process $pid of the cluster does not end"
      sleep 0.05
    done
  done
}

# make_cgroups makes the control group below which the kubelet makes those of the pods, in version 1 or 2.
make_cgroups() {
  local root=/sys/fs/cgroup hierarchy controllers controller file
  if [[ -e $root/cgroup.controllers ]]; then
    mkdir -p "$root/$cgroup_name"
    # The kubelet refuses a group without the controllers that the machine has.
    read -ra controllers <$root/cgroup.controllers
    for controller in "${controllers[@]}"; do
      echo "+$controller" >"$root/cgroup.subtree_control" || say "cgroup controller $controller cannot be used"
    done
    return
  fi
  for hierarchy in "$root"/*/; do
    mkdir -p "$hierarchy/$cgroup_name"
  done
  # A new cpuset is empty, and nothing can run in an empty one.
  for file in cpuset.mems cpuset.cpus; do
    [[ ! -e $root/cpuset/$file ]] || cat "$root/cpuset/$file" >"$root/cpuset/$cgroup_name/$file"
  done
}

remove_cgroups() {
  local top end=$((SECONDS + 10))
  for top in /sys/fs/cgroup/"$cgroup_name" /sys/fs/cgroup/*/"$cgroup_name"; do
    # The last process of a group may still be on its way out.
    until [[ ! -d $top ]] || find "$top" -depth -type d -exec rmdir {} + 2>/dev/null; do
      ((SECONDS < end)) || die "cannot remove the control group $top"
      sleep 0.05
    done
  done
}
