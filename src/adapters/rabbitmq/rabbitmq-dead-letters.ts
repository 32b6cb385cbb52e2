import { sleep } from '../../core/clock.ts'
import { TrunklineError } from '../../core/errors.ts'
import type { DeadLetter, DeadLetterFilter, DeadLetterPage, DeadLetterPlane, TransportHost } from '../../bus/port.ts'
import { decodeDeadLetterRecord } from '../../bus/protocol/dead-letter-record.ts'
import { writeHoldEntry } from '../../bus/protocol/hold-entry.ts'
import type { ControlEntry } from '../../bus/protocol/lane-port.ts'
import type { RabbitChannel, RabbitMessage } from './rabbitmq-client.ts'
import { answered } from './rabbitmq-deadline.ts'
import type { RabbitLink } from './rabbitmq-link.ts'
import { ATTEMPTS_HEADER, copyOptionsOf, messageOf, REDRIVEN_HEADER, textOf } from './rabbitmq-message.ts'
import { DEAD_HEADERS } from './rabbitmq-mover.ts'
import { connectionLost } from './rabbitmq-problem.ts'
import type { RabbitNames } from './rabbitmq-names.ts'
import type { RabbitPublisher } from './rabbitmq-publisher.ts'
import { replyCodeOf } from './rabbitmq-topology.ts'

/** The largest prefetch that AMQP can express; with 0 RabbitMQ takes a default of its own for quorum queues. */
const PREFETCH_MAX = 65_535
/** Longest wait for another process that scans. */
const LOCK_WAIT_MAX_MS = 30_000
const LOCK_POLL_MS = 50
const RETURN_POLL_MS = 5
const RESOURCE_LOCKED = 405

/** What dead letters are read with. */
export interface DeadLetterSettings {
  readonly host: TransportHost
  readonly names: RabbitNames
  readonly publisher: RabbitPublisher
  readonly consumeLink: RabbitLink
  readonly commandTimeoutMs: number
}

/** What a scan does with one dead letter: leave it, or act on it and take it out when `act` has resolved. */
type Visit = (raw: RabbitMessage) => (() => Promise<void>) | undefined

/**
 * Dead letters of all groups of a namespace, in one queue.
 *
 * AMQP can only read a queue from its front by taking messages out, so a scan takes all of them, and gives them back
 * together: quorum queues keep the order of messages that come back together, and only of those. One scan at a time,
 * guarded by an exclusive queue that goes with its connection; a second one would see what the first left over.
 */
export class RabbitDeadLetters implements DeadLetterPlane {
  readonly #settings: DeadLetterSettings
  #turn: Promise<unknown> = Promise.resolve()

  constructor(settings: DeadLetterSettings) {
    this.#settings = settings
  }

  async list(filter: DeadLetterFilter, options: { readonly limit: number; readonly after?: string | undefined }): Promise<DeadLetterPage> {
    const page = new Page(filter, options.limit, options.after)
    await this.#scan((raw) => page.visit(raw))
    return page.finish()
  }

  async read(id: string): Promise<DeadLetter | undefined> {
    let found: DeadLetter | undefined
    await this.#scan((raw) => {
      if (idOf(raw) === id) found ??= deadLetterOf(raw)
      return undefined
    })
    return found
  }

  redrive(id: string): Promise<boolean> {
    return this.#settle(id, (raw) => (holdOf(raw) === '' ? this.#sendAgain(raw) : this.#tellOwner(raw, 'redrive')))
  }

  remove(id: string): Promise<boolean> {
    return this.#settle(id, (raw) => (holdOf(raw) === '' ? Promise.resolve() : this.#tellOwner(raw, 'remove')))
  }

  async #settle(id: string, act: (raw: RabbitMessage) => Promise<void>): Promise<boolean> {
    let isFound = false
    await this.#scan((raw) => {
      if (idOf(raw) !== id) return undefined
      // A death between storing a dead letter and acking its message leaves it twice.
      const isFirst = !isFound
      isFound = true
      return () => (isFirst ? act(raw) : Promise.resolve())
    })
    return isFound
  }

  #sendAgain(raw: RabbitMessage): Promise<void> {
    const queue = headerOf(raw, DEAD_HEADERS.queue)
    const { type, id } = messageOf(raw)
    return this.#settings.publisher.send({
      exchange: '',
      routingKey: queue,
      content: raw.content,
      options: copyOptionsOf(raw, { [ATTEMPTS_HEADER]: '0', [REDRIVEN_HEADER]: '1' }),
      type,
      id,
      signal: undefined,
      repair: undefined,
    })
  }

  /** In an ordered group the message itself is in its lane's hold list, and the lane's owner acts. */
  #tellOwner(raw: RabbitMessage, control: ControlEntry['control']): Promise<void> {
    const { host, publisher } = this.#settings
    const headers: Record<string, string> = {}
    const entry: ControlEntry = { role: 'control', id: host.random.id(host.clock.nowMs()), target: idOf(raw), control }
    writeHoldEntry(entry, (name, value) => {
      headers[name] = value
    })
    return publisher.send({
      exchange: '',
      routingKey: holdOf(raw),
      content: Buffer.alloc(0),
      options: { persistent: true, mandatory: true, messageId: entry.id, headers },
      type: 'control',
      id: entry.id,
      signal: undefined,
      repair: undefined,
    })
  }

  /** Scans of one process follow each other: the exclusive queue only keeps other connections out. */
  #scan(visit: Visit): Promise<void> {
    const run = this.#turn.catch(() => undefined).then(() => this.#scanAlone(visit))
    this.#turn = run
    return run
  }

  async #scanAlone(visit: Visit): Promise<void> {
    const { consumeLink, names } = this.#settings
    await this.#lock()
    try {
      // As long as it takes: every step has its own limit.
      const count = await consumeLink.onSpareChannel((channel) => this.#scanQueue(channel, visit), Infinity)
      await this.#returned(count)
    } finally {
      await consumeLink.onSpareChannel((channel) => channel.deleteQueue(names.deadLock)).catch(() => undefined)
    }
  }

  async #lock(): Promise<void> {
    const { consumeLink, host, names } = this.#settings
    const endMs = host.clock.monotonicMs() + LOCK_WAIT_MAX_MS
    for (;;) {
      try {
        await consumeLink.onSpareChannel((channel) => channel.assertQueue(names.deadLock, { exclusive: true, durable: false }))
        return
      } catch (error) {
        if (replyCodeOf(error) !== RESOURCE_LOCKED) throw error
        if (host.clock.monotonicMs() >= endMs) throw new TrunklineError('bus.overloaded', { what: 'processes that read the dead letters at the same time', limit: 1 }, { cause: error })
        await sleep(host.clock, LOCK_POLL_MS)
      }
    }
  }

  /** Takes everything, acts on what was asked for, and closes the channel with the rest. Resolves with how many went back. */
  async #scanQueue(channel: RabbitChannel, visit: Visit): Promise<number> {
    const acts: { readonly raw: RabbitMessage; readonly act: () => Promise<void> }[] = []
    let count = 0
    await this.#takeAll(channel, (raw) => {
      count++
      const act = visit(raw)
      if (act !== undefined) acts.push({ raw, act })
    })
    for (const { raw, act } of acts) {
      await act()
      channel.ack(raw)
      count--
    }
    return count
  }

  /**
   * Takes everything out of the queue, as fast as it comes, and then looks for what is left. The consumer is not cancelled:
   * amqplib closes a channel on which a message arrives after that.
   */
  async #takeAll(channel: RabbitChannel, meet: (raw: RabbitMessage) => void): Promise<void> {
    const { host, names, commandTimeoutMs } = this.#settings
    await channel.prefetch(PREFETCH_MAX)
    const { messageCount } = await channel.checkQueue(names.dead)
    const expected = Math.min(messageCount, PREFETCH_MAX)
    let isOpen = true
    if (expected > 0) {
      let seen = 0
      const all = Promise.withResolvers<void>()
      const take = (raw: RabbitMessage | null): void => {
        try {
          if (raw !== null && isOpen) meet(raw)
          if (raw === null || ++seen >= expected) all.resolve()
        } catch (error) {
          all.reject(error)
        }
      }
      channel.on('close', () => all.reject(connectionLost('the channel was closed while the dead letters were read')))
      channel.consume(names.dead, take).catch((error: unknown) => all.reject(error))
      await answered(host.clock, all.promise, commandTimeoutMs, 'reading the dead letters')
    }
    // While a queue starts, RabbitMQ says that it has no messages.
    for (;;) {
      const raw = await answered(host.clock, channel.get(names.dead), commandTimeoutMs, 'reading the dead letters')
      if (raw === false) break
      meet(raw)
    }
    isOpen = false
  }

  /** Waits until what was given back can be read again, so that the next scan sees all. */
  async #returned(count: number): Promise<void> {
    const { consumeLink, host, names, commandTimeoutMs } = this.#settings
    const endMs = host.clock.monotonicMs() + commandTimeoutMs
    await consumeLink.onSpareChannel(async (channel) => {
      while ((await channel.checkQueue(names.dead)).messageCount < count && host.clock.monotonicMs() < endMs) {
        await sleep(host.clock, RETURN_POLL_MS)
      }
    }, Infinity)
  }
}

/** Collects one page: the first `limit` matches behind a cursor, by the order in which the letters died. */
class Page {
  readonly #filter: DeadLetterFilter
  readonly #limit: number
  readonly #after: string
  readonly #seen = new Set<string>()
  #found: { readonly order: string; readonly letter: DeadLetter }[] = []

  constructor(filter: DeadLetterFilter, limit: number, after: string | undefined) {
    this.#filter = filter
    this.#limit = limit
    this.#after = after ?? ''
  }

  visit(raw: RabbitMessage): undefined {
    const order = orderOf(raw)
    if (order <= this.#after) return
    const letter = deadLetterOf(raw)
    const { group, type, reason } = this.#filter
    if (group !== undefined && letter.group !== group) return
    if (type !== undefined && letter.message.type !== type) return
    if (reason !== undefined && letter.record.reason !== reason) return
    if (this.#seen.has(letter.id)) return
    this.#seen.add(letter.id)
    this.#found.push({ order, letter })
    // Bounded: what cannot be on this page is dropped on the way.
    if (this.#found.length > this.#limit * 2 + 1) this.#trim()
  }

  finish(): DeadLetterPage {
    this.#trim()
    const items = this.#found.slice(0, this.#limit)
    return { items: items.map(({ letter }) => letter), next: this.#found.length > this.#limit ? items.at(-1)?.order : undefined }
  }

  /** Keeps one more than a page, which says whether there is a next one. */
  #trim(): void {
    this.#found.sort((a, b) => (a.order < b.order ? -1 : 1))
    this.#found = this.#found.slice(0, this.#limit + 1)
  }
}

function headerOf(raw: RabbitMessage, name: string): string {
  return textOf(raw.properties.headers?.[name]) ?? ''
}

/** The hold list that the message's key waits in; empty for unordered groups. */
function holdOf(raw: RabbitMessage): string {
  return headerOf(raw, DEAD_HEADERS.hold)
}

/** Time-ordered and unique; what somebody else put into the queue sorts before all. */
function orderOf(raw: RabbitMessage): string {
  const order = headerOf(raw, DEAD_HEADERS.order)
  return order === '' ? `!${idOf(raw)}` : order
}

function idOf(raw: RabbitMessage): string {
  const id = headerOf(raw, DEAD_HEADERS.id)
  return id === '' ? messageOf(raw).id : id
}

function deadLetterOf(raw: RabbitMessage): DeadLetter {
  return {
    id: idOf(raw),
    group: headerOf(raw, DEAD_HEADERS.group),
    kind: headerOf(raw, DEAD_HEADERS.kind) === 'command' ? 'command' : 'event',
    message: messageOf(raw),
    record: decodeDeadLetterRecord(headerOf(raw, DEAD_HEADERS.record)),
    holdsKey: holdOf(raw) !== '',
  }
}
