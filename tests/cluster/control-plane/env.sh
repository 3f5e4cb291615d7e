# shellcheck shell=bash disable=SC2034,SC2154
# Places of an API server alone; one for each user. To be sourced, after ../own/env.sh.

state_dir=${XDG_STATE_HOME:-$HOME/.local/state}/eventbus/control-plane
lock_file=$state_dir.lock
mkdir -p "${state_dir%/*}"

# remove_programs ends the programs, running or half started, and removes all that they left.
remove_programs() {
  local name pid end=$((SECONDS + 20))
  for name in apiserver etcd; do
    if pid=$(recorded "$state_dir/$name.pid"); then
      kill -KILL "$pid"
      while recorded "$state_dir/$name.pid" >/dev/null; do
        ((SECONDS < end)) || die "process $pid of the control plane does not end"
        sleep 0.05
      done
    fi
  done
  rm -rf "$state_dir"
}
