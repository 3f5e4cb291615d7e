# shellcheck shell=bash disable=SC2034,SC2154
# The kind cluster's name and place. To be sourced, after ../lib.sh.

cluster_name=eventbus-test
state_dir=${XDG_STATE_HOME:-$HOME/.local/state}/eventbus/kind
kubeconfig_file=$state_dir/kubeconfig
lock_file=$state_dir.lock

engine_name=$(engine) || die "kind needs Docker or Podman, running; neither answers"
export KIND_EXPERIMENTAL_PROVIDER=$engine_name
for command in kind kubectl helm; do
  has $command || die "$command is missing; make setup tells where to get it"
done
mkdir -p "${state_dir%/*}"

exists() { kind get clusters 2>/dev/null | grep -qx $cluster_name; }
