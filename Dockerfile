# The app in a container: for Hugging Face Spaces (python -m ddpm space) and for every other host (make docker).
FROM python:3.11-slim

# The user id that Spaces run a container with. A volume mounted on outputs or data belongs to it too.
RUN useradd --create-home --uid 1000 user
WORKDIR /home/user/app
RUN mkdir outputs data && chown user:user . outputs data

COPY requirements.txt .
# That index has torch's CPU build, whose version (+cpu) pip takes for newer than PyPI's build with 3 GB of CUDA.
RUN pip install --no-cache-dir --extra-index-url https://download.pytorch.org/whl/cpu -r requirements.txt

COPY --chown=user:user . .
USER user
ENV PYTHONUNBUFFERED=1

EXPOSE 8501
HEALTHCHECK --start-period=60s --timeout=5s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8501/_stcore/health', timeout=4)"]
# A Space, which sets SPACE_ID, shows the app in a frame on huggingface.co, a site other than its own: browsers withhold
# the cookie there that Streamlit's XSRF check compares, and every upload would be refused. Without that check it still
# takes the session's id, which no other site knows, and the server's check of origins stays.
CMD ["sh", "-c", "exec python -m streamlit run streamlit_app.py --server.address=0.0.0.0 --server.port=8501 ${SPACE_ID:+--server.enableXsrfProtection=false}"]
