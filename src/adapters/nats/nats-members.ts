import type { NatsClientSubscription, NatsMessage } from './nats-client.ts'
import { isRecord, type NatsLink } from './nats-link.ts'

/**
 * Who takes part in an ordered group right now, heard over core NATS. It only decides how many lanes are a fair share: who
 * is missed for a moment costs a lane's move, never order.
 */
export class NatsMembers {
  readonly #link: NatsLink
  readonly #subject: string
  readonly #self: string
  readonly #silenceMaxMs: number
  readonly #onChange: () => void
  readonly #heardMs = new Map<string, number>()
  #subscription: NatsClientSubscription | undefined

  /** @param onChange called when somebody came, went, or gave a lane up. */
  constructor(link: NatsLink, subject: string, self: string, silenceMaxMs: number, onChange: () => void) {
    this.#link = link
    this.#subject = subject
    this.#self = self
    this.#silenceMaxMs = silenceMaxMs
    this.#onChange = onChange
  }

  /** Members heard of lately, this one included. */
  get count(): number {
    const nowMs = this.#link.host.clock.monotonicMs()
    for (const [member, heardMs] of this.#heardMs) if (nowMs - heardMs >= this.#silenceMaxMs) this.#heardMs.delete(member)
    return this.#heardMs.size + 1
  }

  open(): void {
    this.#subscription = this.#link.subscribe(this.#subject, undefined, (message) => this.#hear(message))
    this.#say('hello')
  }

  /** Says that this member lives. */
  beat(): void {
    this.#say('alive')
  }

  /** Tells the others that a lane became free. */
  wake(): void {
    this.#say('free')
  }

  close(): void {
    this.#subscription?.unsubscribe()
    this.#say('bye')
  }

  #say(what: string): void {
    this.#link.signal(this.#subject, Buffer.from(JSON.stringify({ member: this.#self, what })))
  }

  #hear(message: NatsMessage): void {
    const value: unknown = JSON.parse(Buffer.from(message.data).toString())
    if (!isRecord(value)) return
    const { member, what } = value
    if (typeof member !== 'string' || member === this.#self) return
    const isNew = !this.#heardMs.has(member)
    if (what === 'bye') this.#heardMs.delete(member)
    else this.#heardMs.set(member, this.#link.host.clock.monotonicMs())
    if (what === 'hello') this.beat()
    if (isNew || what === 'bye' || what === 'free') this.#onChange()
  }
}
