import { describe, expect, test } from 'vitest'
import { TrunklineError } from '../../src/index.ts'
import type { InboxEntry, OutboxRow } from '../../src/outbox/port.ts'
import type { EventLog, LogPage, NewEvent, Selection, StoredEvent, StreamMetadata } from '../../src/store/port.ts'
import { type StoreCase, runStoreCase, storeCases, testStore } from '../../src/testing/index.ts'
import { type StoreBend, bentStoreSubject, checkThenAct, statementByStatement } from './bent-store.ts'

/** A planted bug, and the case that must see it. */
type Mutant = readonly [bug: string, seenBy: string, bend: () => StoreBend]

const reading = (change: (page: LogPage) => LogPage): (() => StoreBend) => () => ({ log: (inner) => ({ read: async (query) => change(await inner.read(query)) }) })
const appending = (change: (events: readonly NewEvent[]) => readonly NewEvent[]): (() => StoreBend) => () => ({
  log: (inner) => ({ append: (stream, expected, events) => inner.append(stream, expected, change(events)) }),
})
const entering = (change: (entry: InboxEntry) => InboxEntry): (() => StoreBend) => () => ({
  unit: (inner) => ({ enter: (entry) => inner.enter(change(entry)), enterMany: (entries) => inner.enterMany(entries.map(change)) }),
})
const following = (bent: (inner: EventLog, ...given: Parameters<EventLog['follow']>) => AsyncIterable<LogPage>): (() => StoreBend) => () => ({
  log: (inner) => ({ follow: (...given) => bent(inner, ...given) }),
})
const settingMetadata = (change: (metadata: StreamMetadata) => StreamMetadata): (() => StoreBend) => () => ({
  log: (inner) => ({ setMetadata: (stream, metadata) => inner.setMetadata(stream, change(metadata)) }),
})

const rewritten = (event: StoredEvent, parts: Partial<StoredEvent['message']>): StoredEvent => ({ ...event, message: { ...event.message, ...parts } })
const asText = (bytes: Uint8Array): Buffer => Buffer.from(Buffer.from(bytes).toString())

const MUTANTS: readonly Mutant[] = [
  // The log.
  ['ignores the expected revision', 'refuses a wrong revision, says the actual one, and appends nothing', () => ({ log: (inner) => ({ append: (stream, _expected, events) => inner.append(stream, 'any', events) }) })],
  [
    'does not say the actual revision',
    'refuses a wrong revision, says the actual one, and appends nothing',
    () => ({
      log: (inner) => ({
        append: (stream, expected, events) =>
          inner.append(stream, expected, events).catch(() => Promise.reject(new TrunklineError('store.wrong_revision', { stream, expected: String(expected), actual: '' }))),
      }),
    }),
  ],
  ['lets everybody win', 'lets one of many win who append at the same revision', () => ({ log: (inner) => ({ append: (stream, _expected, events) => inner.append(stream, 'any', events) }) })],
  ['does not recognise a repetition', 'answers a repeated append as the first one, however many came after', appending((events) => events.map((one) => ({ ...one, message: { ...one.message, id: `${one.message.id}-${Math.random()}` } })))],
  [
    'recognises a repetition by its first event',
    'refuses a repetition that is only in part the same',
    () => ({
      log: (inner) => ({
        append: (stream, expected, events) =>
          inner.append(stream, expected, events).catch(async (error: unknown) => {
            const first = (await inner.read({ selection: { kind: 'stream', stream }, direction: 'forwards', after: undefined, limit: 1 })).events[0]
            if (first?.message.id !== events[0]?.message.id) throw error
            return { revision: 1n, position: undefined, isRepeated: true }
          }),
      }),
    }),
  ],
  [
    'appends one event after the other',
    'gives a reader every append of many writers exactly once and in order',
    () => ({
      log: (inner) => ({
        append: async (stream, expected, events) => {
          const answers = []
          for (const one of events) answers.push(await inner.append(stream, expected, [one]))
          return answers.at(-1) ?? { revision: 0n, position: undefined, isRepeated: false }
        },
      }),
    }),
  ],
  ['includes the cursor', 'reads forwards from an exclusive cursor, page by page, and says when it is at the end', () => ({ log: (inner) => ({ read: (query) => inner.read({ ...query, after: query.after === undefined || query.after === 0n ? undefined : query.after - 1n }) }) })],
  ['includes the cursor backwards', 'reads backwards from the last one or from an exclusive cursor', () => ({ log: (inner) => ({ read: (query) => inner.read({ ...query, after: query.after === undefined ? undefined : query.after + 1n }) }) })],
  ['says the end too early', 'reads forwards from an exclusive cursor, page by page, and says when it is at the end', reading((page) => ({ ...page, isEnd: true }))],
  ['never says the end', 'reads backwards from the last one or from an exclusive cursor', reading((page) => ({ ...page, isEnd: false }))],
  ['ignores the limit', 'reads forwards from an exclusive cursor, page by page, and says when it is at the end', () => ({ log: (inner) => ({ read: (query) => inner.read({ ...query, limit: 1_000 }) }) })],
  ['takes a category for a prefix', 'keeps streams and categories apart, whatever their names are like', () => ({ log: (inner) => ({ read: (query) => byPrefix(inner, query) }) })],
  [
    'folds the case of streams',
    'keeps streams and categories apart, whatever their names are like',
    () => ({ log: (inner) => ({ append: (stream, _expected, events) => inner.append(stream.toLowerCase(), 'any', events), read: (query) => inner.read({ ...query, selection: lowered(query.selection) }) }) }),
  ],
  ['counts positions by stream', 'reads the whole log and categories in the order of the appends, with cursors that are positions', reading((page) => ({ ...page, events: page.events.map((event) => ({ ...event, position: event.revision })) }))],
  ['drops headers', 'appends to a new stream and gives back everything that was stored', reading((page) => ({ ...page, events: page.events.map((event) => rewritten(event, { headers: undefined })) }))],
  ['keeps bodies as text', 'keeps bodies byte by byte: nothing, NUL, half a surrogate, no UTF-8, odd JSON, a quarter of a mebibyte', reading((page) => ({ ...page, events: page.events.map((event) => rewritten(event, { body: asText(event.message.body) })) }))],
  ['cuts long reads', 'reads much, page by page', () => ({ log: (inner) => ({ read: async (query) => cut(await inner.read(query)) }) })],
  // Those who follow.
  ['never says that it has caught up', 'catches up, says so, and goes on with what comes', following(async function* (inner, ...given) { for await (const page of inner.follow(...given)) yield { ...page, isEnd: false } })],
  ['ends at the end', 'catches up, says so, and goes on with what comes', following(async function* (inner, ...given) { for await (const page of inner.follow(...given)) { yield page; if (page.isEnd) return } })],
  ['says nothing of an empty log', 'says of an empty log that it has caught up, and waits', following(async function* (inner, ...given) { for await (const page of inner.follow(...given)) if (page.events.length > 0) yield page })],
  ['gives the last one again after a resumption', 'goes on from the last cursor and gives nothing twice', following((inner, selection, after, options) => inner.follow(selection, after === undefined ? undefined : after - 1n, options))],
  ['drops what a slow reader does not take', 'waits for a slow reader and loses nothing meanwhile', following((inner, selection, after, options) => dropping(inner, selection, after, options))],
  ['follows everything', 'follows one stream, a category and the whole log, each from an exclusive cursor', following((inner, _selection, after, options) => inner.follow({ kind: 'all' }, after, options))],
  ['is deaf to others', 'hears what other processes append', following(async function* (inner, selection, after, options) { yield await inner.read({ selection, direction: 'forwards', after, limit: options.pageMax }); await aborted(options.signal) })],
  ['goes on after the abort', 'ends when its signal aborts, while it waits and before it began', following((inner, selection, after, { pageMax }) => inner.follow(selection, after, { pageMax, signal: new AbortController().signal }))],
  ['moves its checkpoint by numbers that are given before the commit', 'gives a reader every committed event of slow units exactly once, in the order of each stream, and none of those rolled back', following((inner, selection, after, options) => skipping(inner, selection, after, options))],
  ['gives late what it had passed', 'gives a reader every committed event of slow units exactly once, in the order of each stream, and none of those rolled back', following((inner, ...given) => disordering(inner, ...given))],
  // Settings of streams.
  ['adds to settings', 'keeps the settings of a stream, replaces them whole, and knows none of another one', () => ({ log: (inner) => ({ setMetadata: async (stream, metadata) => await inner.setMetadata(stream, { ...(await inner.metadata(stream)), ...metadata }) }) })],
  ['ignores the truncation', 'hides what is before the truncation, and goes on counting revisions', settingMetadata(({ truncateBefore: _gone, ...rest }) => rest)],
  ['ignores the greatest count', 'hides what is beyond the greatest count, oldest first', settingMetadata(({ countMax: _gone, ...rest }) => rest)],
  ['ignores the greatest age', 'hides what is older than the greatest age', settingMetadata(({ ageMaxMs: _gone, ...rest }) => rest)],
  ['hides from streams alone', 'hides it from the whole log, from categories and from those who follow as well', () => hidingInStreams()],
  // Units of work.
  ...[
    'leaves nothing of a unit that throws, and throws the same', 'commits events of several streams together, in one order',
    'shows a unit what it appended itself, and others nothing before the commit', 'moves a checkpoint with the effects of the work, or not at all', 'forgets a message whose unit was rolled back',
    'shows nothing of a unit before its commit, and nothing of one that was rolled back', 'keeps an alarm whose taker rolls back, and gives it again',
    'cancels an alarm, says where there was none, and forgets what was rolled back', 'refuses what a unit does after its end',
  ].map((seenBy): Mutant => ['commits statement by statement', seenBy, () => ({ backend: statementByStatement })]),
  ['commits what has thrown', 'leaves nothing of a unit that throws, and throws the same', () => ({ backend: committing })],
  ['commits the rows of what has thrown', 'commits business rows with everything else, or none of them', () => ({ backend: committing })],
  ['throws something else', 'leaves nothing of a unit that throws, and throws the same', () => ({ backend: (inner) => ({ transact: (work, options) => inner.transact(work, options).catch(() => Promise.reject(new Error('other'))) }) })],
  ['never gives a unit up', 'gives up a unit that takes too long, and lets the others go on', () => ({ backend: (inner) => ({ transact: (work) => inner.transact(work) }) })],
  ['ignores the signal', 'gives up a unit whose signal aborts, and one whose signal has aborted before it began', () => ({ backend: (inner) => ({ transact: (work, options) => inner.transact(work, { timeoutMs: options?.timeoutMs ?? 30_000 }) }) })],
  ['waits for itself', 'never waits for ever where a unit starts another one', () => ({ backend: (inner) => ({ transact: (work) => inner.transact(work, { timeoutMs: 60_000 }) }) })],
  ['takes any handle', 'refuses handles that it does not know', () => ({ backend: (inner) => ({ adopt: () => inner.transact((tx) => Promise.resolve(tx)) }) })],
  ['does not recognise a repetition within a unit', 'recognises a repeated append within a unit', () => ({ unit: (inner) => ({ append: (stream, _expected, events) => inner.append(stream, 'any', events) }) })],
  ['loses updates', 'loses no update of units that load, decide and append at the same time', () => ({ unit: (inner) => ({ append: (stream, _expected, events) => inner.append(stream, 'any', events) }), backend: checkThenAct })],
  // Checkpoints and leases.
  ['rounds large cursors', 'keeps the cursor of each reader, however large, until it is removed', () => ({ unit: (inner) => ({ saveCheckpoint: (name, cursor, epoch) => inner.saveCheckpoint(name, BigInt(Number(cursor)), epoch) }) })],
  ['ignores the epoch of a checkpoint', 'refuses a checkpoint, and the whole unit, of who has lost the lease of its name to a later holder', () => ({ unit: (inner) => ({ saveCheckpoint: (name, cursor) => inner.saveCheckpoint(name, cursor, undefined) }) })],
  ['looks at the epoch before the commit alone', 'shows a later holder what an earlier one commits, or lets the earlier one commit nothing more', () => lookingOnce()],
  ['gives a snapshot to any shape', 'keeps the newest snapshot of a stream, byte by byte, for the shape that folded it alone', () => ({ checkpoints: (inner) => ({ loadSnapshot: (stream) => inner.loadSnapshot(stream, 'order:1') }) })],
  ['gives a lease to everybody', 'gives a lease to one owner, keeps it and its epoch for as long as it is renewed', () => ({ leases: (inner) => ({ hold: (names, _owner, ttlMs, most) => inner.hold(names, 'all', ttlMs, most) }) })],
  ['does not renew', 'gives a lease to one owner, keeps it and its epoch for as long as it is renewed', () => ({ leases: (inner) => ({ hold: (names, owner, _ttlMs, most) => inner.hold(names, owner, 100, most) }) })],
  ['raises the epoch with each renewal', 'gives a lease to one owner, keeps it and its epoch for as long as it is renewed', () => raisingEpochs()],
  ['never ends a lease', 'gives what has ended to the next owner, under a higher epoch', () => ({ leases: (inner) => ({ hold: (names, owner, _ttlMs, most) => inner.hold(names, owner, 3_600_000, most) }) })],
  ['keeps the epoch for the next holder', 'gives what has ended to the next owner, under a higher epoch', () => ({ leases: (inner) => ({ hold: async (...given) => (await inner.hold(...given)).map(({ name }) => ({ name, epoch: 1n })) }) })],
  ['lets anybody release', 'gives what was released at once to others, and lets nobody release what is not theirs', () => ({ leases: (inner) => ({ release: async (names) => { for (const owner of ['one', 'other']) await inner.release(names, owner) } }) })],
  ['forgets to release', 'gives what was released at once to others, and lets nobody release what is not theirs', () => ({ leases: () => ({ release: () => Promise.resolve() }) })],
  ['ignores the most', 'gives an owner no more than it asks for, its own first, and the rest to others', () => ({ leases: (inner) => ({ hold: (names, owner, ttlMs) => inner.hold(names, owner, ttlMs, 100) }) })],
  ['gives a lease to two who ask at the same time', 'gives each lease to one of many who ask at the same time', () => ({ leases: (inner) => ({ hold: (names, owner, ttlMs, most) => inner.hold(names, Number(owner.at(-1)) < 2 ? 'owner-0' : owner, ttlMs, most) }) })],
  // The inbox.
  ['checks the inbox, then acts', 'lets one of ten have the effect who enter the same message at the same time', () => ({ backend: checkThenAct })],
  ['keeps the mark of who rolls back', 'lets another one have the effect where the first who entered rolls back', () => ({ backend: statementByStatement })],
  ['ignores the source', 'keeps groups, sources and ids apart, whatever they are like', entering((entry) => ({ ...entry, source: '' }))],
  ['ignores the group', 'keeps groups, sources and ids apart, whatever they are like', entering((entry) => ({ ...entry, group: '' }))],
  ['runs the parts of a mark together', 'keeps groups, sources and ids apart, whatever they are like', entering((entry) => ({ ...entry, source: '', id: `${entry.source}${entry.id}` }))],
  ['normalises ids', 'keeps groups, sources and ids apart, whatever they are like', entering((entry) => ({ ...entry, id: entry.id.normalize() }))],
  ['ignores the body', 'knows a message again, in every process, and a body that is not the same', entering((entry) => ({ ...entry, digest: Buffer.alloc(32) }))],
  ['judges many against the database alone', 'judges many at once, one after the other', () => ({ unit: (inner) => ({ enterMany: async (entries) => (await inner.enterMany(entries)).map((verdict, at) => (entries[at]?.id === 'm-1' ? { kind: 'new' } : verdict)) }) })],
  ['drops answers', 'keeps an answer beside its mark, byte by byte, and gives it to every repetition', () => ({ unit: () => ({ keepAnswer: () => Promise.resolve() }) })],
  ['keeps answers as text', 'keeps an answer beside its mark, byte by byte, and gives it to every repetition', () => ({ unit: (inner) => ({ keepAnswer: (entry, answer) => inner.keepAnswer(entry, asText(answer)) }) })],
  ['removes young marks', 'removes old marks alone, no more of them than asked for, oldest first', () => ({ inbox: (inner) => ({ prune: (_olderThanMs, limit) => inner.prune(0, limit) }) })],
  ['removes any number of marks', 'removes old marks alone, no more of them than asked for, oldest first', () => ({ inbox: (inner) => ({ prune: (olderThanMs) => inner.prune(olderThanMs, 1_000) }) })],
  // The outbox.
  ['drops the tenant of a message', 'shows committed rows shard by shard, in the order written, with everything that they carry', () => ({ outbox: (inner) => ({ read: async (...given) => (await inner.read(...given)).map((row) => ({ ...row, message: { ...row.message, tenant: undefined } })) }) })],
  ['mixes shards', 'shows committed rows shard by shard, in the order written, with everything that they carry', () => ({ unit: (inner) => ({ write: (rows) => inner.write(rows.map((row) => ({ ...row, shard: 0 }))) }) })],
  ['writes in another order', 'writes many rows at once', () => ({ unit: (inner) => ({ write: (rows) => inner.write(rows.toReversed()) }) })],
  ['includes the row that was given', 'reads no more than asked for, beyond a row, and without the keys that wait', () => ({ outbox: (inner) => ({ read: (shard, options) => inner.read(shard, { ...options, after: options.after === undefined ? undefined : options.after - 1n }) }) })],
  ['ignores the keys that wait', 'reads no more than asked for, beyond a row, and without the keys that wait', () => ({ outbox: (inner) => ({ read: (shard, options) => inner.read(shard, { ...options, withoutKeys: [] }) }) })],
  ['deletes before it publishes', 'reads no more than asked for, beyond a row, and without the keys that wait', () => deletingOnRead()],
  ['gives ids before the commit', 'keeps the rows of a key in commit order under many writers, so that none appears before one that was seen', () => hidingAtFirst()],
  ['turns the rows of a unit round', 'keeps the rows of a key in commit order under many writers, so that none appears before one that was seen', () => ({ unit: (inner) => ({ write: (rows) => inner.write(rows.toReversed()) }) })],
  ['removes the whole shard', 'removes what was published and nothing else, for the holder of the shard', () => ({ outbox: (inner) => ({ settle: async (shard, epoch, outcome) => await inner.settle(shard, epoch, { ...outcome, published: (await inner.read(shard, EVERYTHING)).map(({ id }) => id) }) }) })],
  ['ignores the epoch of a shard', 'changes nothing for who has lost the shard to a later holder', () => forgettingEpochs()],
  ['throws dead rows away', 'keeps what was given up with its record, page by page, until it is redriven or removed', () => ({ outbox: (inner) => ({ settle: (shard, epoch, { published, dead }) => inner.settle(shard, epoch, { published: [...published, ...dead.map(({ id }) => id)], dead: [] }) }) })],
  ['forgets why', 'keeps what was given up with its record, page by page, until it is redriven or removed', () => ({ outbox: (inner) => ({ dead: async (...given) => (await inner.dead(...given)).map((row) => ({ ...row, record: { ...row.record, errors: [] } })) }) })],
  ['says that it redrove what is not there', 'keeps what was given up with its record, page by page, until it is redriven or removed', () => ({ outbox: (inner) => ({ redrive: async (id) => (await inner.redrive(id)) || true }) })],
  ['does not know how old rows are', 'says what waits, how many and for how long', () => ({ outbox: (inner) => ({ stats: async () => ({ ...(await inner.stats()), oldestAgeMs: 0 }) }) })],
  ['says that every shard waits', 'says what waits, how many and for how long', () => ({ outbox: () => ({ waiting: (shards) => Promise.resolve(shards) }) })],
  ['tells nobody', 'tells other processes of what was committed, where it hears of them', () => ({ backend: () => ({ onCommitted: () => () => {} }) })],
  ['leaves messages of its own transport in the outbox', "hands messages to the store's own transport with the commit, and never those of a unit that was rolled back", () => ({ backend: (inner) => ({ open: (host) => inner.open({ ...host, isOwnTransport: false }) }) })],
  ['hands messages over before the commit', "hands messages to the store's own transport with the commit, and never those of a unit that was rolled back", () => ({ unit: (_inner, backend) => ({ write: async (rows) => { for (const row of rows) await backend.transport?.publish(row, undefined) } }) })],
  // Alarms.
  ['fires early', 'never fires early', () => ({ unit: (inner) => ({ putTimer: (timer) => inner.putTimer({ ...timer, due: 'afterMs' in timer.due ? { afterMs: timer.due.afterMs / 3 } : timer.due }) }) })],
  ['forgets the recurrence', 'keeps an alarm with everything that it carries, and lists alarms page by page', () => ({ unit: (inner) => ({ putTimer: (timer) => inner.putTimer({ ...timer, recurrence: undefined }) }) })],
  ['fires in any order', 'gives what is due in the order of its instants, no more than asked for, and takes it out', () => ({ unit: (inner) => ({ takeDue: async (limit) => (await inner.takeDue(limit)).toReversed() }) })],
  ['takes more than it was asked for', 'gives what is due in the order of its instants, no more than asked for, and takes it out', () => ({ unit: (inner) => ({ takeDue: () => inner.takeDue(100) }) })],
  ['leaves what was taken', 'gives what is due in the order of its instants, no more than asked for, and takes it out', () => ({ unit: (inner) => ({ takeDue: async (limit) => { const due = await inner.takeDue(limit); for (const one of due) await inner.putTimer({ ...one, due: { atMs: one.dueAtMs } }); return due } }) })],
  ['gives an alarm to two who look at the same time', 'gives each alarm to one of those who take at the same time', () => ({ backend: checkThenAct })],
  ['says that it cancelled what is not there', 'cancels an alarm, says where there was none, and forgets what was rolled back', () => ({ unit: (inner) => ({ cancelTimer: async (id) => (await inner.cancelTimer(id)) || true }) })],
  ['keeps the first alarm of an id', 'replaces the alarm with the same id, also while it is being taken', () => keepingTheFirst()],
  // Bodies.
  ['keeps large bodies as text', 'keeps a body byte by byte for every process, and knows what it does not have', () => ({ bodies: (inner) => ({ put: (id, body) => inner.put(id, asText(body)) }) })],
  ['removes young bodies', 'removes old bodies alone, no more of them than asked for', () => ({ bodies: (inner) => ({ prune: (_olderThanMs, limit) => inner.prune(-1, limit) }) })],
]

const EVERYTHING = { limit: 10_000, after: undefined, withoutKeys: [] } as const

async function byPrefix(inner: EventLog, query: Parameters<EventLog['read']>[0]): Promise<LogPage> {
  const { selection } = query
  if (selection.kind !== 'category') return await inner.read(query)
  const page = await inner.read({ ...query, selection: { kind: 'all' }, limit: 1_000 })
  return { ...page, events: page.events.filter(({ stream }) => stream.startsWith(selection.category)).slice(0, query.limit) }
}

function lowered(selection: Selection): Selection {
  return selection.kind === 'stream' ? { kind: 'stream', stream: selection.stream.toLowerCase() } : selection
}

function cut(page: LogPage): LogPage {
  return { ...page, events: page.events.slice(0, 400) }
}

async function aborted(signal: AbortSignal): Promise<void> {
  if (!signal.aborted) await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }))
}

/** Jumps to the end after each page. */
async function* dropping(inner: EventLog, ...[selection, after, options]: Parameters<EventLog['follow']>): AsyncGenerator<LogPage> {
  for await (const page of inner.follow(selection, after, options)) {
    yield page
    yield* inner.follow(selection, await inner.head(), options)
  }
}

/** Loses one event in twenty: what stands behind a cursor that was moved on too early. */
async function* skipping(inner: EventLog, ...given: Parameters<EventLog['follow']>): AsyncGenerator<LogPage> {
  for await (const page of inner.follow(...given)) yield { ...page, events: page.events.filter(({ position }) => position % 20n !== 0n) }
}

/** Gives one event in twenty with the page after its own. */
async function* disordering(inner: EventLog, ...given: Parameters<EventLog['follow']>): AsyncGenerator<LogPage> {
  let late: readonly StoredEvent[] = []
  for await (const page of inner.follow(...given)) {
    yield { ...page, events: [...page.events.filter(({ position }) => position % 20n !== 0n), ...late] }
    late = page.events.filter(({ position }) => position % 20n === 0n)
    if (page.isEnd) {
      yield { ...page, events: late }
      late = []
    }
  }
}

function hidingInStreams(): StoreBend {
  const truncated = new Map<string, bigint>()
  return {
    log: (inner) => ({
      setMetadata: (stream, { truncateBefore }) => Promise.resolve(void truncated.set(stream, truncateBefore ?? 0n)),
      read: async (query) => {
        const page = await inner.read(query)
        const { selection } = query
        if (selection.kind !== 'stream') return page
        return { ...page, events: page.events.filter(({ revision }) => revision >= (truncated.get(selection.stream) ?? 0n)) }
      },
    }),
  }
}

const committing: NonNullable<StoreBend['backend']> = (inner) => ({
  transact: async (work, options) => {
    const outcome = await inner.transact(async (tx) => (await Promise.allSettled([work(tx)]))[0], options)
    if (outcome.status === 'rejected') throw outcome.reason
    return outcome.value
  },
})

function lookingOnce(): StoreBend {
  const epochs = new Map<string, bigint>()
  return {
    leases: (inner) => ({ hold: async (...given) => {
      const held = await inner.hold(...given)
      for (const { name, epoch } of held) epochs.set(name, epoch)
      return held
    } }),
    unit: (inner) => ({ saveCheckpoint: async (name, cursor, epoch) => {
      if (epochs.get(name) !== epoch) throw new TrunklineError('store.lease_lost', { store: 'memory', lease: name })
      await inner.saveCheckpoint(name, cursor, undefined)
    } }),
  }
}

function raisingEpochs(): StoreBend {
  let more = 0n
  return { leases: (inner) => ({ hold: async (...given) => (await inner.hold(...given)).map(({ name, epoch }) => ({ name, epoch: epoch + ++more })) }) }
}

function forgettingEpochs(): StoreBend {
  let newest = 0n
  return {
    leases: (inner) => ({ hold: async (...given) => {
      const held = await inner.hold(...given)
      for (const { epoch } of held) newest = epoch
      return held
    } }),
    outbox: (inner) => ({ settle: (shard, _epoch, outcome) => inner.settle(shard, newest, outcome) }),
  }
}

function deletingOnRead(): StoreBend {
  const given = new Set<bigint>()
  return { outbox: (inner) => ({ read: async (...query) => {
    const rows = (await inner.read(...query)).filter(({ id }) => !given.has(id))
    for (const { id } of rows) given.add(id)
    return rows
  } }) }
}

/** One row in seven is not there at the first two looks that could have shown it. */
function hidingAtFirst(): StoreBend {
  const looks = new Map<bigint, number>()
  const isHidden = ({ id }: OutboxRow): boolean => {
    const count = (looks.get(id) ?? 0) + 1
    looks.set(id, count)
    return id % 7n === 0n && count <= 2
  }
  return { outbox: (inner) => ({ read: async (...query) => (await inner.read(...query)).filter((row) => !isHidden(row)) }) }
}

function keepingTheFirst(): StoreBend {
  return { unit: (inner, backend) => ({ putTimer: async (timer) => {
    if ((await backend.timers.read(timer.id)) === undefined) await inner.putTimer(timer)
  } }) }
}

function caseNamed(name: string): StoreCase {
  const found = storeCases.find((one) => one.name === name)
  if (found === undefined) throw new Error(`there is no case "${name}"`)
  return found
}

describe('the suite of stores', () => {
  test('has cases with names of their own', () => {
    const names = storeCases.map(({ name }) => name)
    expect(new Set(names).size).toBe(names.length)
  })

  test.concurrent.each(MUTANTS)('sees a store that %s, in the case "%s"', { timeout: 20_000 }, async (_bug, seenBy, bend) => {
    await expect(runStoreCase(caseNamed(seenBy), bentStoreSubject(bend))).rejects.toThrow()
  })

  test.concurrent.each(storeCases.map(({ name }) => name))('passes a store that nothing is wrong with, in the case "%s"', { timeout: 20_000 }, async (name) => {
    await runStoreCase(caseNamed(name), { ...bentStoreSubject(() => ({})), waitMsMax: 10_000 })
  })

  test('sees events of several streams that are declared impossible and not refused', async () => {
    const runs: (() => Promise<void>)[] = []
    const subject = bentStoreSubject(() => ({}))
    const declared = { ...subject, capabilities: { ...subject.capabilities, canCommitStreams: false } }
    const refusing = bentStoreSubject(() => ({
      unit: () => ({ append: () => Promise.reject(new TrunklineError('bus.unsupported', { adapter: 'memory', capability: 'canCommitStreams', needed: 'it' })) }),
    }))
    const one = caseNamed('commits events of several streams together, in one order')
    testStore((_name, run) => runs.push(run), declared, [one])
    testStore((_name, run) => runs.push(run), { ...refusing, capabilities: declared.capabilities }, [one])
    await expect(runs[0]?.()).rejects.toThrow(/canCommitStreams/)
    await runs[1]?.()
  })
})
