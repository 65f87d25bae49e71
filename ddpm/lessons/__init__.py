"""Six lessons of fifteen minutes: questions to answer before the answer is drawn.

Each is a YAML file of this folder, which a teacher can edit, or copy and rewrite, without touching Python. The app's
page Lessons and ``lessons.html`` of the static page are made of these files.
"""
