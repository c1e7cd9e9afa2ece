#!/bin/sh
# Ten classes of CCP, which a run's step 0 learned, and five rare ones more: rare.sh MODEL CCP OUT METHOD [flags]
# On two cores two of these run side by side, each with OMP_NUM_THREADS=1.
set -eu
model=$1 ccp=$2 out=$3 method=$4
shift 4
exec sats extend "$model" --data "$ccp" --classes skirt,t-shirt,suit,shirt,sweater --old-data "$ccp" --out "$out" \
    --method "$method" --epochs 4 --batch-size 8 --train.resize 168 --crop 168 --train.scale 0.75 1.5 "$@"
