# docker build --build-arg CUDA_TAG=12.9.1-runtime-ubuntu24.04 -t tslm-sleep .
ARG CUDA_TAG=12.9.1-runtime-ubuntu24.04
FROM nvidia/cuda:${CUDA_TAG}
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*
ENV VIRTUAL_ENV=/opt/venv PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1
WORKDIR /app
# The applications run from this checkout; the wheel holds the library alone.
ENV PYTHONPATH=/app
COPY . .
RUN python3 -m venv "$VIRTUAL_ENV" \
    && pip install --no-cache-dir -c constraints.txt '.[ecg]'
ENTRYPOINT ["accelerate", "launch", "curriculum/train.py"]
CMD ["--help"]
