import { bucketOf, splitType, tokenOf } from '../../contract/names.ts'
import type { WireMessage } from '../../core/envelope.ts'

// Subjects and names on the server. Part of the wire format: other programs publish to these subjects.
//
//   <ns>.e.<hi>.<lo>.<context>.<name>   events; bucket of the key = hi * 8 + lo
//   <ns>.c.<hi>.<lo>.<context>.<name>   commands
//   <ns>.l.-.-.<context>.<name>         broadcasts, not stored
//   <ns>.q.<context>.<name>             requests, not stored
//   <ns>.r.<group>.<context>.<name>     deliveries that wait for their next attempt
//   <ns>.d.<group>.<context>.<name>.<id>  dead letters
//   <ns>.h.<group>.<lane>.e             hold lists of ordered groups: what the owner of the lane keeps
//   <ns>.h.<group>.<lane>.c             hold lists: what operators want
//   <ns>.s.a.<group>.<stream>.<seq>     attempts that have begun
//   <ns>.s.g.<group>                    how an ordered group is laid out
//   <ns>.s.l.<group>.<lane>             leases of lanes
//   <ns>.m.<group>                      signs of life of a group's members, not stored

/** Width of the second bucket token: 64 buckets in eight times eight. */
const BUCKETS_LOW = 8

/** The streams of one namespace. */
export interface StreamNames {
  readonly events: string
  readonly commands: string
  readonly retry: string
  readonly hold: string
  readonly dead: string
  readonly state: string
}

/** Every subject and name of one namespace. */
export class NatsNames {
  readonly namespace: string
  readonly streams: StreamNames
  /** Begins every subject of durable commands, which `broadcastFilter` matches too. */
  readonly commandPrefix: string
  /** Subjects up to the type, by bucket. */
  readonly #eventHeads: readonly string[]
  readonly #commandHeads: readonly string[]

  constructor(namespace: string) {
    this.namespace = namespace
    this.commandPrefix = `${namespace}.c.`
    const upper = namespace.toUpperCase()
    this.streams = {
      events: `${upper}_EVENTS`,
      commands: `${upper}_COMMANDS`,
      retry: `${upper}_RETRY`,
      hold: `${upper}_HOLD`,
      dead: `${upper}_DEAD`,
      state: `${upper}_STATE`,
    }
    this.#eventHeads = heads(`${namespace}.e`)
    this.#commandHeads = heads(`${namespace}.c`)
  }

  /**
   * Where a message is published. A message without a key goes to a bucket of its id, so that the lanes of
   * ordered groups, whose filters are buckets, see it too.
   */
  subjectOf(kind: 'event' | 'command', message: WireMessage): string {
    const bucket = bucketOf(message.key ?? message.id)
    return `${(kind === 'event' ? this.#eventHeads : this.#commandHeads)[bucket] ?? ''}${message.type}`
  }

  /** All of one type, whatever the bucket. */
  typeFilter(kind: 'event' | 'command', type: string): string {
    return `${this.namespace}.${kind === 'event' ? 'e' : 'c'}.*.*.${type}`
  }

  streamOf(kind: 'event' | 'command'): string {
    return kind === 'event' ? this.streams.events : this.streams.commands
  }

  broadcast(type: string): string {
    return `${this.namespace}.l.-.-.${type}`
  }

  /** Broadcasts and durable events of a type: one interest, because each costs memory. */
  broadcastFilter(type: string): string {
    return `${this.namespace}.*.*.*.${type}`
  }

  request(type: string): string {
    return `${this.namespace}.q.${type}`
  }

  retry(group: string, type: string): string {
    return `${this.namespace}.r.${group}.${type}`
  }

  /** One subject per dead letter: `id` is the place that it came from, or what its lane calls it. */
  dead(group: string, type: string, id: string): string {
    return `${this.namespace}.d.${group}.${type}.${id}`
  }

  /** Dead letters of one group, one type, or all. */
  deadFilter(group: string | undefined, type: string | undefined): string {
    if (type !== undefined) return `${this.namespace}.d.${group ?? '*'}.${type}.*`
    return group === undefined ? `${this.namespace}.d.>` : `${this.namespace}.d.${group}.>`
  }

  /** Entries of a lane's hold list, its operators' wishes, or both. */
  hold(group: string, lane: number, part: 'e' | 'c' | '*'): string {
    return `${this.namespace}.h.${group}.${lane}.${part}`
  }

  layout(group: string): string {
    return `${this.namespace}.s.g.${group}`
  }

  lease(group: string, lane: number | '*'): string {
    return `${this.namespace}.s.l.${group}.${lane}`
  }

  members(group: string): string {
    return `${this.namespace}.m.${group}`
  }

  /** What a lane takes in: its buckets of one type, or of all types where the group has several (one filter per consumer). */
  laneFilter(kind: 'event' | 'command', types: readonly string[], lane: number, lanes: number): string {
    const [only] = types
    const tail = types.length === 1 && only !== undefined ? only : '>'
    const head = `${this.namespace}.${kind === 'event' ? 'e' : 'c'}`
    if (lanes === 1) return `${head}.*.*.${tail}`
    if (lanes === BUCKETS_LOW) return `${head}.${lane}.*.${tail}`
    return `${head}.${Math.floor(lane / BUCKETS_LOW)}.${lane % BUCKETS_LOW}.${tail}`
  }

  /** Count of begun attempts of one stored message in one group. */
  begun(group: string, stream: string, seq: number): string {
    return `${this.namespace}.s.a.${group}.${stream}.${seq}`
  }
}

function heads(prefix: string): readonly string[] {
  const subjects: string[] = []
  for (let bucket = 0; bucket < BUCKETS_LOW * BUCKETS_LOW; bucket++) {
    subjects.push(`${prefix}.${Math.floor(bucket / BUCKETS_LOW)}.${bucket % BUCKETS_LOW}.`)
  }
  return subjects
}

/**
 * A group as one token. Events and commands are told apart, because a command's group is its type, and
 * a type can spell like `service.group`.
 */
export function groupToken(kind: 'event' | 'command', group: string): string {
  return `${kind === 'event' ? 'e' : 'c'}-${tokenOf(group)}`
}

/** Durable name of a group's consumer of one type. */
export function consumerName(group: string, type: string): string {
  return `${group}--${tokenOf(type)}`
}

/**
 * A type as the end of a subject. A message without a readable type still needs a place among retries
 * and dead letters.
 */
export function subjectTail(type: string): string {
  const { context, name } = splitType(type)
  return context === '' || name === '' ? 'unknown.unknown' : `${tokenOf(context)}.${tokenOf(name)}`
}
