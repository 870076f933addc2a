# The command `wsis` in a container; /data is the folder to mount.
#
#   docker build --tag wsis .
#   docker run --rm --volume "$PWD:/data" wsis segment phase-contrast images --out found
#
# With an NVIDIA GPU (the wheels of JAX bring CUDA; the machine needs a driver and the NVIDIA Container Toolkit):
#
#   docker build --tag wsis:cuda --build-arg EXTRAS=cuda,imagej,parquet .
#   docker run --rm --gpus all --volume "$PWD:/data" wsis:cuda segment phase-contrast images --out found
FROM python:3.12-slim
ARG EXTRAS=imagej,parquet
COPY pyproject.toml README.md LICENSE /source/
COPY wsis_jax /source/wsis_jax
RUN pip install --no-cache-dir "/source[$EXTRAS]" && rm -rf /source
# Programs that were compiled once are kept for the next container where a volume is mounted here.
ENV XDG_CACHE_HOME=/cache
RUN mkdir --mode=1777 /cache
WORKDIR /data
ENTRYPOINT ["wsis"]
CMD ["--help"]
