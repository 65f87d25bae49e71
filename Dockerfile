# The app in a container: for Hugging Face Spaces (python -m ddpm space) and for every other host (make docker).
# Training in one: docker build --target train (docs/command-line.md).
# python:3.11-slim by its digest, for amd64 and arm64; `docker buildx imagetools inspect python:3.11-slim` prints the
# newest.
FROM python:3.11-slim@sha256:9c900dea9e8fb7e16277c179b555cc72d29a352dbc33cff48ad5a0412fd5bfc7 AS base

# The user id that Spaces run a container with. It may write into outputs and data alone (a volume mounted there belongs
# to it too), not into the app.
RUN useradd --create-home --uid 1000 user
WORKDIR /home/user/app
RUN mkdir outputs data && chown user:user outputs data

COPY requirements.txt requirements.lock ./
# torch's CPU build, without 3 GB of CUDA, from PyTorch's own index and nothing else from there; all else from PyPI, with
# the hashes of `make lock`.
RUN pip install --no-cache-dir --no-deps --index-url https://download.pytorch.org/whl/cpu $(grep -E '^torch(vision)?==' requirements.txt)
RUN pip install --no-cache-dir --no-deps --require-hashes -r requirements.lock

COPY . .
ENV PYTHONUNBUFFERED=1

# Trains what its arguments say: --config configs/mnist.yaml --run mine. With --build-arg GPU=1 it has PyPI's build of torch,
# the one with CUDA.
FROM base AS train
ARG GPU=
RUN if [ -n "$GPU" ]; then pip uninstall --yes torch torchvision \
    && pip install --no-cache-dir $(grep -E '^torch(vision)?==' requirements.txt); fi
USER user
ENTRYPOINT ["python", "-m", "ddpm", "train"]
CMD ["--help"]

# The app is the last stage, which is built where none is named, as on a Space.
FROM base AS app
USER user
EXPOSE 8501
HEALTHCHECK --start-period=60s --timeout=5s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8501/_stcore/health', timeout=4)"]
# A Space, which sets SPACE_ID, shows the app in a frame on huggingface.co, a site other than its own: browsers withhold
# the cookie there that Streamlit's XSRF check compares, and every upload would be refused. Without that check it still
# takes the session's id, which no other site knows, and the server's check of origins stays.
CMD ["sh", "-c", "exec python -m streamlit run streamlit_app.py --server.address=0.0.0.0 --server.port=8501 ${SPACE_ID:+--server.enableXsrfProtection=false}"]
