from app.db.config import alchemy_config
from app.lib.database_url import parse_database_url
from app.lib.settings import Settings


def test_one_process_can_configure_any_number_of_databases() -> None:
    settings = Settings(environment="test")
    target = parse_database_url("postgresql://user@localhost/todos")
    configs = [alchemy_config(settings, target) for _ in range(1100)]
    assert len({id(config.get_engine()) for config in configs[-2:]}) == 2
