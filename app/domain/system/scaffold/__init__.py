"""`manage.py startapp`: a new domain, written from templates."""
