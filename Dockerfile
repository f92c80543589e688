# The harness image: base image + sources. The methods' images stand on it (docker/<method>.Dockerfile), and it
# is `harness` itself for machines where nothing is to be installed (stages are executed inside of it):
#
#   harness image build harness
#   docker run --rm --user "$(id -u):$(id -g)" --volume "$PWD:/data" --workdir /data wsss-harness/harness:TAG \
#       run --method vwe --dataset shapes --executor local
ARG BASE_IMAGE
FROM ${BASE_IMAGE}
COPY harness /opt/harness/harness
COPY methods /opt/harness/methods
COPY leaderboard /opt/harness/leaderboard
USER root
# Containers have a read-only root: uncompiled, every stage would compile the sources again.
RUN python -m compileall -q /opt/harness \
    && printf '#!/opt/venv/bin/python\nfrom harness.cli import main\n\nmain()\n' > /usr/local/bin/harness \
    && chmod 755 /usr/local/bin/harness
USER harness
ENV PYTHONPATH=/opt/harness
WORKDIR /home/harness
ENTRYPOINT ["harness"]
CMD ["--help"]
