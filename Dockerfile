# odkd in a container: it is installed with the releases of constraints.txt, and the main job has run once in small.
#
#   docker build -t odkd .                                                          with torch for NVIDIA GPUs
#   docker build --build-arg DEVICE=cpu --build-arg CPU_INDEX=ADDRESS -t odkd:cpu .      for the CPU alone, 4.5 GB less
#   docker run --rm -v "$PWD/outputs:/study/outputs" odkd                           the main job
#   docker run --rm --gpus all -v "$PWD:/study" odkd dataset=videos dataset.root=my_videos device=cuda
#
# ADDRESS is the package index for CPUs that PyTorch's page "Get started" shows. Where no daemon is at hand,
# `python scripts/docker_steps.py` executes these steps in a temporary folder.
ARG PYTHON=3.11
FROM python:${PYTHON}-slim

# cuda: a torch with NVIDIA's libraries, which also computes on CPUs | cpu
ARG DEVICE=cuda
# Package index of torch for CPUs; needed with DEVICE=cpu.
ARG CPU_INDEX=
# Extras of odkd, such as smp,transformers,onnx.
ARG EXTRAS=

ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1

WORKDIR /opt/odkd
COPY constraints.txt ./
# torch first: it is large and changes seldom.
RUN if [ "$DEVICE" = cpu ]; then \
        test -n "$CPU_INDEX" || { echo "DEVICE=cpu needs --build-arg CPU_INDEX=ADDRESS" >&2; exit 1; }; \
        python -m pip install "$(grep '^torch==' constraints.txt)" --index-url "$CPU_INDEX"; \
    else \
        python -m pip install --constraint constraints.txt torch; \
    fi
COPY pyproject.toml README.md LICENSE ./
COPY odkd odkd
COPY hydra_plugins hydra_plugins
COPY conf conf
RUN grep -vE '^torch(vision)?==' constraints.txt > others.txt \
    && python -m pip install --constraint others.txt ".${EXTRAS:+[$EXTRAS]}"

# Outputs lie below the folder where odkd is started.
WORKDIR /study
RUN odkd debug=smoke tracking=none && rm -rf outputs

ENTRYPOINT ["odkd"]
CMD []
