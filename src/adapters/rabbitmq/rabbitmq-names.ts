import { derivedId } from '../../core/random.ts'
import { bucketOf } from '../../contract/names.ts'
import type { WireMessage } from '../../core/envelope.ts'

// Every part that comes from outside is a checked name or type, so `:` and `~` can only be ours and no
// two addresses collide. Keys and ids of messages never enter a name.

/** Longest queue name that is written out: what belongs to a queue has its name and a suffix, and 255 is the limit. */
const NAME_BYTES_MAX = 210

/** Where things are on the broker, for one namespace. */
export class RabbitNames {
  readonly #namespace: string
  /** Topic exchange of all events. */
  readonly events: string
  /** Topic exchange of all commands. */
  readonly commands: string
  /** Topic exchange of broadcasts. */
  readonly light: string
  /** Alternate exchange of the others, and the bounded queue behind it. */
  readonly unrouted: string
  /** Queue of all dead letters. */
  readonly dead: string
  /** Exclusive queue that whoever scans the dead letters holds. */
  readonly deadLock: string
  /** Exchange that delayed messages go back to their queues by. */
  readonly due: string

  constructor(namespace: string) {
    this.#namespace = namespace
    this.events = `${namespace}.events`
    this.commands = `${namespace}.commands`
    this.light = `${namespace}.light`
    this.unrouted = `${namespace}.unrouted`
    this.dead = `${namespace}:dead`
    this.deadLock = `${namespace}:dead:lock`
    this.due = `${namespace}:back`
  }

  /** Queue of one type in a group; a command's group is its type. */
  group(kind: 'event' | 'command', group: string, type: string): string {
    return this.#fitted(kind === 'command' ? `command:${type}` : `${group}.${type}`)
  }

  /** Queue of the suspects of the given queue. */
  suspects(queue: string): string {
    return `${queue}:suspect`
  }

  /** Queue of one ordered lane. */
  lane(kind: 'event' | 'command', group: string, lane: number): string {
    return this.#fitted(`${kind === 'command' ? 'command:' : ''}${group}:lane-${lane}`)
  }

  /** Queue with the hold list of the given lane's queue. */
  hold(laneQueue: string): string {
    return `${laneQueue}:hold`
  }

  /** Exclusive queue that the owner of the given lane's queue holds. */
  lock(laneQueue: string): string {
    return `${laneQueue}:lock`
  }

  /** Queue whose consumers are the instances of an ordered group. */
  members(kind: 'event' | 'command', group: string): string {
    return this.#fitted(`${kind === 'command' ? 'command:' : ''}${group}:members`)
  }

  /** Empty queue whose settings say whether the group is ordered. */
  order(kind: 'event' | 'command', group: string): string {
    return this.#fitted(`${kind === 'command' ? 'command:' : ''}${group}:order`)
  }

  /** Queue that the instances which answer a query share. */
  query(type: string): string {
    return this.#fitted(`query:${type}`)
  }

  /** Queue that answers for one instance go to. */
  inbox(instance: string): string {
    return this.#fitted(`inbox:${instance}`)
  }

  /** True for an address that answers may be sent to: an inbox of ours, or a direct reply-to of a foreign program. */
  isInbox(queue: string): boolean {
    return queue.startsWith(`${this.#namespace}.inbox:`) || queue.startsWith('amq.rabbitmq.reply-to.') || queue.startsWith('amq.gen-')
  }

  /** Queue of one broadcast subscription of one instance. */
  broadcast(instance: string, number: number): string {
    return this.#fitted(`broadcast:${instance}:${number}`)
  }

  /** Queue of the delayed messages of one level. */
  delay(level: number): string {
    return `${this.#namespace}:wait-${level}`
  }

  #fitted(rest: string): string {
    const name = `${this.#namespace}.${rest}`
    if (name.length <= NAME_BYTES_MAX) return name
    return `${name.slice(0, NAME_BYTES_MAX - 37)}~${derivedId(name)}`
  }
}

/** Routing key of a message: its type and its key's bucket in two base-8 digits; `-` where it has no key. */
export function routingKeyOf(message: WireMessage): string {
  if (message.key === undefined) return `${message.type}.-.-`
  const bucket = bucketOf(message.key)
  return `${message.type}.${bucket >> 3}.${bucket & 7}`
}

/** Pattern of every message of a type. */
export function patternOf(type: string): string {
  return `${type}.*.*`
}
