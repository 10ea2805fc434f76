#!/bin/bash
# Runs the pipeline on a Slurm cluster: every row and seed is a step of its own on any of the nodes.
#     sbatch docs/slurm.sh          # in the checkout, on a file system that all nodes share
# Adjust what follows; `sbatch --test-only docs/slurm.sh` checks it. Where time runs out, the next
# sbatch resumes from the last checkpoints (`machine.checkpoint_seconds`).
#SBATCH --job-name=bpg
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --gpus-per-node=8
#SBATCH --mem-per-cpu=4G
#SBATCH --time=24:00:00

step="srun --disable-status --exact --nodes=1 --ntasks=1 --cpus-per-task=$SLURM_CPUS_PER_TASK"
if [ -n "$SLURM_GPUS_ON_NODE" ]; then
  step="$step --gpus-per-task=1"
fi
make repro JOBS="$SLURM_NTASKS" LAUNCH="$step"
