# The command line with tables, reports and search methods, without torch.
#   docker build -t nasbench-kd .
#   docker run --rm -v "$PWD:/results" nasbench-kd run quick --output /results/quick
FROM python:3.12-slim AS build
WORKDIR /source
COPY . .
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.12-slim
COPY --from=build /wheels /wheels
RUN pip install --no-cache-dir "$(ls /wheels/*.whl)[report,search]" && rm -r /wheels \
    && useradd --create-home searcher
USER searcher
WORKDIR /results
ENTRYPOINT ["nasbench-kd"]
CMD ["--help"]
