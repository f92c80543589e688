# What every image shares: Python 3.11 and the locked packages in /opt/venv.
# `harness image build` hands in requirements/*.lock and, where a company network needs one, ca-bundle.crt;
# proxies come as the predefined build arguments. Both stay in the first stage: nothing of them is in the image.
# docker/debian.snapshot says which day's packages of Debian it has, docker/images.lock what came of it.
ARG BASE_IMAGE=debian:bookworm-slim

FROM ${BASE_IMAGE} AS packages
# Removed after the build: its 6 GB are of no use once the packages are copied.
LABEL wsss-harness.intermediate=true
ARG DEBIAN_SNAPSHOTS=
COPY docker/debian-snapshot.sh docker/debian.snapshot /build/
RUN sh /build/debian-snapshot.sh \
    && apt-get install --yes --no-install-recommends ca-certificates g++ python3.11-dev python3.11-venv
COPY requirements/build.lock requirements/runtime.lock ca-bundle.cr[t] /build/
RUN if [ -f /build/ca-bundle.crt ]; then cat /build/ca-bundle.crt >> /etc/ssl/certs/ca-certificates.crt; fi
ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_PROGRESS_BAR=off
# Without build isolation, and with the sources built before torch is there: see the Makefile.
RUN python3.11 -m venv /opt/venv \
    && /opt/venv/bin/pip install --require-hashes --no-deps --requirement /build/build.lock \
    && /opt/venv/bin/pip install --require-hashes --no-deps --no-build-isolation --requirement /build/runtime.lock \
    && /opt/venv/bin/pip uninstall --yes cython wheel pip

FROM ${BASE_IMAGE}
ARG DEBIAN_SNAPSHOTS=
COPY docker/debian-snapshot.sh docker/debian.snapshot /tmp/
RUN sh /tmp/debian-snapshot.sh \
    && apt-get install --yes --no-install-recommends python3.11 \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/log/* /tmp/* \
    && useradd --uid 10001 --create-home harness
COPY --from=packages /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER harness
