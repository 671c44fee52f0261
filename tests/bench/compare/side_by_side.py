"""fio's part of the comparison: sessions of runs, A B A B over all servers."""

import image
import loads
import plan

_COPY_SECONDS = 600


class SideBySide:
    """Runs the plan's sessions against all servers, in turn, round by round."""

    def __init__(self, settings, factory, cache):
        self._plan = settings
        self._factory = factory
        self._cache = cache
        self.samples = []
        self.commands = {}

    def run(self):
        for session in self._plan.sessions:
            for number in range(1, self._plan.rounds + 1):
                for name in self._plan.servers:
                    cells = plan.cells_of(session, name)
                    if cells:
                        self._run_session(session, name, cells, number)

    def _run_session(self, session, name, cells, number):
        server = self._factory.make(name, session.size, hot_cache=self._plan.hot_cache)
        with server:
            self.commands[name] = server.commands()
            loads.progress(f"fill {session.set_name}, round {number}: {name}")
            self._fill(server, session)
            warmed = None
            for cell in cells:
                if cell.kind != warmed:
                    self._warm(server, session, cell, seed=1000 * number)
                    warmed = cell.kind
                # The same choices for all servers, others in each cell: a set
                # that does not fit the cache must not come in pieces that do.
                seed = 1000 * number + 1 + session.cells.index(cell)
                self._run_cell(server, session, cell, number, seed)

    def _fill(self, server, session):
        if session.files:
            path = image.cached_files(self._cache, session.size)
            loads.run_client(["nbdcopy", path, server.uri], _COPY_SECONDS)
        else:
            loads.fill(server, session.size)

    def _warm(self, server, session, cell, seed):
        loads.run_timed(
            server,
            plan.KINDS[cell.kind],
            session.size,
            depth=16,
            jobs=1,
            seconds=self._plan.warm_seconds,
            seed=seed,
        )

    def _run_cell(self, server, session, cell, number, seed):
        sample = loads.run_timed(
            server,
            plan.KINDS[cell.kind],
            session.size,
            cell.depth,
            cell.jobs,
            self._plan.run_seconds,
            seed,
        )
        sample.update(
            section="fio",
            set=session.set_name,
            kind=cell.kind,
            depth=cell.depth,
            jobs=cell.jobs,
            server=server.name,
            round=number,
        )
        self.samples.append(sample)
        loads.progress(
            f"{cell.kind}, {session.set_name}, depth {cell.depth}, "
            f"{cell.jobs} jobs, round {number}: {server.name} "
            f"{sample['ops_per_s']:.0f}/s, "
            f"{sample.get('cpu_us_per_op', 0):.1f} CPU us/op"
        )
