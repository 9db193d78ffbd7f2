"""The domains, joined by a line each: what they serve, what they seed, what they add to manage.py."""

from app.domain.system import commands as system
from app.domain.system.controllers import DescriptionController, HealthController
from app.domain.system.scaffold.commands import startapp
from app.domain.todos.batch.controllers import BatchController
from app.domain.todos.controllers import TodoController
from app.domain.todos.lists.controllers import ListController
from app.domain.todos.purging import TrashPurger
from app.domain.todos.seeding import TodoSeeder
from app.domain.todos.tags.controllers import TagController
from app.domain.todos.tasks.controllers import TaskController
from app.domain.users import commands as of_users
from app.domain.users.controllers import AccountController, AdminController, PreferencesController, ProfileController
from app.domain.users.seeding import IdentityFactory

CONTROLLERS = (
    HealthController,
    DescriptionController,
    TodoController,
    BatchController,
    ListController,
    TagController,
    ProfileController,
    PreferencesController,
    AccountController,
    AdminController,
)
DIALECTS = (TaskController,)  # unless TASKS_DIALECT is off
SEEDERS = (TodoSeeder(),)
PURGERS = (TrashPurger(),)
USER_FACTORY = IdentityFactory
COMMANDS = (
    system.run,
    system.token,
    system.routes,
    system.openapi,
    system.check,
    system.health,
    startapp,
    *of_users.ALL,
)
