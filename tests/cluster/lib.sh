# shellcheck shell=bash
# What the scripts of this directory share: words, places, locks, processes. To be sourced.

cluster_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck disable=SC2034  # used by the scripts that source this file
root_dir=$(cd "$cluster_dir/../.." && pwd)
cache_dir=${XDG_CACHE_HOME:-$HOME/.cache}/eventbus

# say WORD… tells what is being done; on standard error, so that a command's own output can be piped.
say() { printf '==> %s\n' "$*" >&2; }

# die WORD… tells why nothing can go on, and ends the script.
die() {
  printf "%s: %s\n" "${0#"$root_dir/"}" "$*" >&2
  exit 1
}

# macOS comes with a bash of 2007.
((BASH_VERSINFO[0] >= 5)) || die "bash 5 or newer is needed, this is $BASH_VERSION"

# has COMMAND: whether COMMAND can be run.
has() { command -v "$1" >/dev/null 2>&1; }

# engine prints docker or podman, whichever is installed and answers; nothing, and false, if neither does.
engine() {
  local name
  for name in docker podman; do
    if has "$name" && "$name" info >/dev/null 2>&1; then
      echo "$name"
      return
    fi
  done
  return 1
}

# provider prints own, kind or existing: what ECG_CLUSTER asks for, else what this machine has.
provider() {
  case ${ECG_CLUSTER:-} in
    own | kind | existing) echo "$ECG_CLUSTER" ;;
    '')
      if engine >/dev/null; then
        echo kind
      elif [[ $(uname) == Linux && $EUID == 0 ]]; then
        echo own
      else
        die "this machine can hold no cluster: that takes Docker or Podman (running), or root on Linux;" \
          "without them these targets work: make test-unit test-redis lint, and on Linux make test-api"
      fi
      ;;
    *) die "ECG_CLUSTER is '$ECG_CLUSTER'; allowed are own, kind and existing" ;;
  esac
}

# control_plane prints the provider of an API server alone. Only Linux has one; elsewhere the whole cluster serves.
control_plane() {
  if [[ $(uname) == Linux ]]; then echo control-plane; else provider; fi
}

# cached NAME FUNCTION: makes the directory NAME of the cache by FUNCTION DIRECTORY unless it is there. It appears
# whole or not at all, and two callers at once do the work once.
cached() {
  local name=$1 build=$2
  [[ -e $cache_dir/$name ]] && return
  mkdir -p "$cache_dir"
  (
    flock -n 8 || { say "another process is making $name; waiting for it" && flock 8; }
    [[ -e $cache_dir/$name ]] && exit
    # What is left under a temporary name is of a build that was interrupted: we hold the lock.
    rm -rf "$cache_dir/.new-$name"
    mkdir "$cache_dir/.new-$name"
    "$build" "$cache_dir/.new-$name"
    mv "$cache_dir/.new-$name" "$cache_dir/$name"
  ) 8>"$cache_dir/.lock-$name"
}

# lock_alone FILE: holds the lock FILE alone until the script ends; waits for the other command that is at work.
# False if commands run in the cluster (lock_shared), which may take long.
lock_alone() {
  exec 9>>"$1"
  # The servers that a command started there end a moment after it.
  flock -w 10 -x 9 && return
  flock -n -s 9 && return 1
  say "another tests/cluster command is at work (process $(lock_holders "$1")); waiting for it"
  flock -w 900 -x 9 || die "still at work after 15 minutes: process $(lock_holders "$1")"
}

# lock_shared FILE: holds the lock FILE together with others that run commands in the cluster; whatever the script
# starts or becomes holds it too.
lock_shared() {
  exec 9>>"$1"
  flock -n -s 9 && return
  say "another tests/cluster command is at work (process $(lock_holders "$1")); waiting for it"
  flock -w 900 -s 9 || die "still at work after 15 minutes: process $(lock_holders "$1")"
}

# lock_holders FILE prints the processes that have FILE open, but for this one.
lock_holders() {
  local fd pid holders=()
  for fd in /proc/[0-9]*/fd/9; do
    pid=${fd#/proc/} pid=${pid%%/*}
    [[ $pid != "$$" && $pid != "$BASHPID" && $fd -ef $1 ]] && holders+=("$pid")
  done
  echo "${holders[*]:-unknown}"
}

# process_mark PID prints what no other process of this machine ever has: id, start time, boot. False if there is none.
process_mark() {
  local stat fields
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
  # The name in parentheses may hold spaces; the state follows it, and the start time is the 20th field from there.
  read -ra fields <<<"${stat##*) }"
  [[ ${fields[0]} != Z ]] && echo "$1 ${fields[19]} $(cat /proc/sys/kernel/random/boot_id)"
}

# start PIDFILE LOG COMMAND… runs COMMAND in the background, in a session of its own, and records it in PIDFILE.
start() {
  local pid_file=$1 log=$2
  shift 2
  setsid "$@" >"$log" 2>&1 </dev/null 9>&- &
  process_mark $! >"$pid_file" || true
}

# recorded PIDFILE prints the id of the process recorded there, if that very process still runs.
recorded() {
  local mark pid
  mark=$(cat "$1" 2>/dev/null) && pid=${mark%% *} && [[ -n $pid && $(process_mark "$pid") == "$mark" ]] && echo "$pid"
}

# tail_logs LINES FILE… prints the end of each log that has one.
tail_logs() {
  local lines=$1 log
  shift
  for log in "$@"; do
    [[ -s $log ]] && printf -- '--- %s\n' "${log##*/}" && tail -n "$lines" "$log" | cut -c1-400
  done
  return 0
}
