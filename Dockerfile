# The plain install: images and the report.
#
#   docker build -t selfwise .
#   docker run --rm --shm-size 2g --volume "$PWD:/data" selfwise pretrain simclr \
#     --data photos --out runs/photos
#
# Extras: --build-arg EXTRAS=text,speech, or EXTRAS=all. Without CUDA, which saves 4 GB:
# --build-arg PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu. A GPU: docker run --gpus all.
# If your user is not number 1000: docker run --user "$(id -u)" --env HOME=/tmp.
FROM python:3.11-slim-bookworm

ARG EXTRAS=""
ARG PIP_EXTRA_INDEX_URL

WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY selfwise selfwise
RUN pip install --no-cache-dir ".${EXTRAS:+[$EXTRAS]}" \
  && rm -rf /src/*

RUN useradd --create-home --uid 1000 selfwise \
  && mkdir /data \
  && chown selfwise /data
USER selfwise
WORKDIR /data

ENTRYPOINT ["selfwise"]
CMD ["--help"]
