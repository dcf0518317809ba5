#!/bin/bash
# A Ray cluster on Slurm's nodes and one job in it: sbatch clusters/templates/slurm.sh, from the root of the repository, on a file system
# that all nodes see. Never run by this project: put --dry-run behind the configuration once.
#SBATCH --job-name=rlvr-72b
#SBATCH --nodes=8
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --mem=0
#SBATCH --time=2-00:00:00
#SBATCH --exclusive
set -euo pipefail

port=6379
mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head_address=$(srun --nodes=1 --ntasks=1 -w "${nodes[0]}" hostname --ip-address | awk '{print $1}')
source .venv/bin/activate

srun --nodes=1 --ntasks=1 -w "${nodes[0]}" \
    ray start --head --node-ip-address="$head_address" --port="$port" --num-gpus=8 --dashboard-host=0.0.0.0 --block &
for attempt in $(seq 60); do
    ray status --address "$head_address:$port" > /dev/null 2>&1 && break
    if ((attempt == 60)); then
        echo "no Ray head at $head_address:$port after five minutes" >&2
        exit 1
    fi
    sleep 5
done
others=$((SLURM_JOB_NUM_NODES - 1))
if ((others > 0)); then
    srun --nodes="$others" --ntasks="$others" --exclude="${nodes[0]}" \
        ray start --address="$head_address:$port" --num-gpus=8 --block &
fi

# nodes that still join are waited for by cluster.placement_timeout_s
ray job submit --address "http://$head_address:8265" -- python -m tower_rl.run configs/rlvr_72b.yaml
