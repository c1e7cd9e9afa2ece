#!/bin/sh
# A model of CamVid learns two classes of IDD-Lite, by one method: run.sh MODEL CAMVID IDD_LITE OUT METHOD [flags]
# On two cores two of these run side by side, each with OMP_NUM_THREADS=1.
set -eu
model=$1 camvid=$2 idd=$3 out=$4 method=$5
shift 5
exec sats extend "$model" --data "$idd" --classes vehicles,living-things --old-data "$camvid" --out "$out" \
    --method "$method" --epochs 1 --batch-size 8 --train.resize 168 --crop 126 --train.scale 0.75 1.5 "$@"
