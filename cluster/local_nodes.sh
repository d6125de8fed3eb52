#!/usr/bin/env bash
# Several Ray nodes on this machine: local_nodes.sh up N | down
set -euo pipefail

port=${AKQ_RAY_PORT:-6399}
export RAY_AUTH_MODE=token

usage() {
    echo "usage: $0 up N | down" >&2
    exit 2
}

case "${1:-}" in
up)
    n=${2:-2}
    [[ "$n" =~ ^[1-9][0-9]*$ ]] || usage
    ray get-auth-token --generate >/dev/null
    ray start --head --node-ip-address=127.0.0.1 --port="$port" --num-cpus=1 --include-dashboard=false --disable-usage-stats >/dev/null
    for ((i = 2; i <= n; i++)); do
        ray start --address="127.0.0.1:$port" --num-cpus=1 --disable-usage-stats >/dev/null
    done
    echo "$n nodes; join with: RAY_AUTH_MODE=token akq sweep run FILE --address 127.0.0.1:$port"
    ;;
down)
    ray stop >/dev/null
    echo "stopped every Ray node of this machine"
    ;;
*)
    usage
    ;;
esac
