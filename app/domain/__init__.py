"""The domains, one line each: what they serve, and what they add to manage.py."""

from app.domain.system.controllers import HealthController
from app.domain.todos.controllers import TodoController
from app.domain.users import models as _users

CONTROLLERS = (HealthController, TodoController)
COMMANDS = ()
