# Nothing beyond the harness image: `semples` needs no packages or compiled code of its own.
ARG BASE_IMAGE
FROM ${BASE_IMAGE}
ENTRYPOINT []
CMD ["python", "-m", "harness.stage", "--help"]
