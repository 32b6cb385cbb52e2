import { errorText } from '../../core/errors.ts'
import { sleep } from '../../core/clock.ts'
import type { EsdbPosition, EsdbSubscription } from './eventstoredb-client.ts'
import { storedOf, type EsdbEvent } from './eventstoredb-event.ts'
import type { EsdbLink } from './eventstoredb-link.ts'

/** What a subscription gives, in order. */
export type FeedItem =
  | { readonly kind: 'event'; readonly event: EsdbEvent }
  /** Everything that was there has been given. Old servers never say so. */
  | { readonly kind: 'caughtUp' }
  /** Everything up to this position has been looked at. */
  | { readonly kind: 'checkpoint'; readonly position: bigint }
  /** It is over, with an error or without (guard 8). */
  | { readonly kind: 'ended'; readonly problem: string; readonly cause: unknown }

/** Starts a subscription; `onCheckpoint` is for its filter. */
export type OpenFeed = (onCheckpoint: (subscription: unknown, position: EsdbPosition) => Promise<void>) => EsdbSubscription

/**
 * A subscription as a bounded queue. The client tells checkpoints and having caught up while earlier events are still in its buffer: here
 * they come behind those events (E-08).
 */
export class EsdbFeed {
  readonly #link: EsdbLink
  readonly #room: number
  readonly #items: FeedItem[] = []
  /** Notices, each with the number of events that have to come before it. */
  readonly #notices: { readonly item: FeedItem; readonly afterCount: number }[] = []
  readonly #stopped = new AbortController()
  #subscription: EsdbSubscription | undefined
  #count = 0
  #isOver = false
  #wake: (() => void) | undefined
  #drained: (() => void) | undefined

  constructor(link: EsdbLink, room: number, open: OpenFeed) {
    this.#link = link
    this.#room = Math.max(1, room)
    // An exception in the callback would stall the subscription in silence (guard 12).
    void this.#pump(() => open(async (_subscription, { commit }) => this.#notice({ kind: 'checkpoint', position: commit })))
  }

  /** The next item, if one is there. */
  poll(): FeedItem | undefined {
    const item = this.#items.shift()
    if (this.#items.length < this.#room) this.#drained?.()
    return item
  }

  /** Resolves when there may be an item, after `timeoutMs`, or when `signal` aborts. */
  async arrived(timeoutMs: number, signal: AbortSignal): Promise<void> {
    if (this.#items.length > 0) return
    const end = new AbortController()
    this.#wake = () => end.abort()
    const stop = (): void => end.abort()
    signal.addEventListener('abort', stop, { once: true })
    if (!signal.aborted) await sleep(this.#link.host.clock, timeoutMs, end.signal)
    signal.removeEventListener('abort', stop)
    this.#wake = undefined
  }

  /** Ends the subscription at the server too (guard 10). */
  close(): void {
    if (this.#stopped.signal.aborted) return
    this.#stopped.abort()
    this.#drained?.()
    const subscription = this.#subscription
    if (subscription === undefined) return
    const destroy = (): void => void subscription.destroy()
    subscription.unsubscribe().then(destroy, destroy)
  }

  async #pump(open: () => EsdbSubscription): Promise<void> {
    try {
      const subscription = open()
      this.#subscription = subscription
      subscription.on('error', () => undefined) // guard 9
      subscription.on('caughtUp', () => this.#notice({ kind: 'caughtUp' }))
      for await (const one of subscription) {
        if (this.#stopped.signal.aborted) break
        const event = storedOf(one)
        this.#count++
        if (event !== undefined) this.#push({ kind: 'event', event })
        this.#release()
        if (this.#items.length >= this.#room) await this.#drain()
      }
      this.#end('the server ended the subscription', undefined)
    } catch (error) {
      this.#end(errorText(error), error)
    }
  }

  #end(problem: string, cause: unknown): void {
    if (this.#isOver || this.#stopped.signal.aborted) return
    this.#isOver = true
    this.#push({ kind: 'ended', problem, cause })
    this.close()
  }

  /** Called by the client, in the middle of its stream. */
  #notice(item: FeedItem): void {
    const afterCount = this.#count + (this.#subscription?.readableLength ?? 0)
    this.#notices.push({ item, afterCount })
    this.#release()
  }

  #release(): void {
    while ((this.#notices[0]?.afterCount ?? Infinity) <= this.#count) {
      const notice = this.#notices.shift()
      if (notice !== undefined) this.#push(notice.item)
    }
  }

  #push(item: FeedItem): void {
    this.#items.push(item)
    this.#wake?.()
  }

  #drain(): Promise<void> {
    if (this.#stopped.signal.aborted) return Promise.resolve()
    return new Promise((resolve) => {
      this.#drained = () => {
        this.#drained = undefined
        resolve()
      }
    })
  }
}
