# docker build --target serve -t tslm-serve .    the REST service, docs/guides/serve.md
# docker build --target train -t tslm-sleep .    training
# Another base: --build-arg CUDA_TAG=12.9.1-runtime-ubuntu24.04
ARG CUDA_TAG=12.9.1-runtime-ubuntu24.04
FROM nvidia/cuda:${CUDA_TAG} AS base
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*
ENV VIRTUAL_ENV=/opt/venv PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1
RUN python3 -m venv "$VIRTUAL_ENV"
WORKDIR /app
COPY . .

FROM base AS serve
RUN pip install --no-cache-dir -c constraints.txt '.[serve,mat,mne]' \
    && useradd --system --create-home --uid 10001 tslm \
    && install -d -o 10001 /data
USER 10001
WORKDIR /data
ENV TSLM_CACHE_DIR=/data/cache
VOLUME /data
EXPOSE 8000
HEALTHCHECK --start-period=60s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health', timeout=5)"]
ENTRYPOINT ["tslm", "serve", "--data", "/data/served", "--host", "0.0.0.0"]

FROM base AS train
# The applications run from this checkout; the wheel holds the library alone.
ENV PYTHONPATH=/app
RUN pip install --no-cache-dir -c constraints.txt '.[ecg]'
ENTRYPOINT ["accelerate", "launch", "curriculum/train.py"]
CMD ["--help"]
