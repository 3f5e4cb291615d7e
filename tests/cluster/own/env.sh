# shellcheck shell=bash disable=SC2034,SC2154
# Names, versions, places and addresses of the project's own cluster. To be sourced, after ../lib.sh.

own_dir=$cluster_dir/own

# The directories of the cache. The program is named by all that it is made of.
kube_version=$(awk '$1 == "require" && $2 == "k8s.io/kubernetes" { print $3 }' "$own_dir/kube/go.mod")
kube_name=kube-$kube_version-$(cat "$own_dir"/kube/{go.mod,go.sum,main.go} | sha256sum | cut -c1-12)
helm_version=v4.3.1
helm_name=helm-$helm_version
pause_name=pause-1
pause_image=localhost/pause:1

kube=$cache_dir/$kube_name/kube
tools_path=$cache_dir/$kube_name:$cache_dir/$helm_name:$PATH

# One cluster a machine: these are the same for every checkout and user.
lock_file=/run/lock/eventbus-test
run_dir=/run/eventbus-test
state_dir=/var/lib/eventbus-test
cgroup_name=eventbus-test
node_pid_file=$run_dir/node.pid

# The addresses are seen inside the node's network namespace alone, so they can collide with nothing outside.
node_name=node
node_ip=10.250.0.1
service_range=10.96.0.0/16
api_service_ip=10.96.0.1
pod_range=10.244.0.0/24
