# docker build -t sats .                                                                       on a processor
# docker build -t sats --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu130 .        on NVIDIA GPUs
# docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/work" sats train scenes --method sats   (GPUs: --gpus all)
FROM python:3.11-slim

# pip takes torch from here, as its version there ("+cpu", "+cu130") counts as the newer one; all else is PyPI's.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
# Such as "[onnx,datasets]".
ARG EXTRAS=""

COPY . /opt/sats
RUN pip install --no-cache-dir --extra-index-url "$TORCH_INDEX" \
        --constraint /opt/sats/constraints.txt "/opt/sats$EXTRAS"

# Whoever it runs as may have no home: caches go where everybody may write.
ENV SATS_CACHE=/tmp/sats HF_HOME=/tmp/huggingface MPLCONFIGDIR=/tmp/matplotlib
WORKDIR /work
ENTRYPOINT ["sats"]
CMD ["--help"]
