import { Metadata, status, type ServiceError } from '@grpc/grpc-js'

/** Calls that can go wrong on purpose. */
export type FaultyCall =
  | 'append' | 'batchAppend' | 'read' | 'subscribe' | 'delete' | 'tombstone' | 'features' | 'gossip'
  | 'persistentRead' | 'persistentAdmin'

/** What goes wrong with one call. */
export type Fault =
  /** It is done, and not answered. */
  | { readonly kind: 'dropReply' }
  /** Neither done nor answered. */
  | { readonly kind: 'stall' }
  /** Answered with an error; `isDone`: after it was done. */
  | { readonly kind: 'status'; readonly code: status; readonly exception?: string; readonly trailers?: Readonly<Record<string, string>>; readonly isDone?: boolean }
  /** The call ends in order without an answer. */
  | { readonly kind: 'endOk' }
  /** A running subscription is told that it was too slow. */
  | { readonly kind: 'tooSlow' }

/** A running call that a test can end. */
export interface LiveCall {
  readonly name: FaultyCall
  end(fault: Fault): void
}

/** The double's faults: planned ones hit the next calls of their kind, others happen at once. */
export class Faults {
  readonly #planned = new Map<FaultyCall, Fault[]>()
  readonly #live = new Set<LiveCall>()
  #frozen: PromiseWithResolvers<void> | undefined
  /** Calls seen so far. */
  readonly seen = new Map<FaultyCall, number>()

  /** The next calls of this kind go wrong, one fault each. */
  plan(name: FaultyCall, ...faults: readonly Fault[]): void {
    this.#planned.set(name, [...(this.#planned.get(name) ?? []), ...faults])
  }

  /** Forgets what was planned. */
  clear(): void {
    this.#planned.clear()
  }

  /** What happens to a call that has just come. Waits while the server is frozen. */
  async meet(name: FaultyCall): Promise<Fault | undefined> {
    this.seen.set(name, (this.seen.get(name) ?? 0) + 1)
    await this.#frozen?.promise
    return this.#planned.get(name)?.shift()
  }

  /** Nothing is answered until `thaw`. */
  freeze(): void {
    this.#frozen ??= Promise.withResolvers()
  }

  thaw(): void {
    this.#frozen?.resolve()
    this.#frozen = undefined
  }

  /** Resolves when the server is not frozen. */
  async thawed(): Promise<void> {
    await this.#frozen?.promise
  }

  track(call: LiveCall): () => void {
    this.#live.add(call)
    return () => {
      this.#live.delete(call)
    }
  }

  /** Ends the running calls of a kind. Gives back how many there were. */
  end(name: FaultyCall, fault: Fault): number {
    const calls = [...this.#live].filter((call) => call.name === name)
    for (const call of calls) call.end(fault)
    return calls.length
  }

  /** Running calls of a kind: what a client has left open. */
  liveCount(name: FaultyCall): number {
    return [...this.#live].filter((call) => call.name === name).length
  }
}

/** The error that a fault answers with. */
export function errorOf(fault: Extract<Fault, { kind: 'status' | 'tooSlow' }>): Partial<ServiceError> {
  if (fault.kind === 'tooSlow') {
    return { code: status.ABORTED, details: 'Operation timed out: Consumer too slow to handle event while live. Client resubscription required.' }
  }
  return exception(fault.code, fault.exception ?? '', fault.trailers ?? {})
}

/** An error as the server writes it: a status, and trailers that say what it is. */
export function exception(code: status, name: string, trailers: Readonly<Record<string, string>> = {}): Partial<ServiceError> {
  const metadata = new Metadata()
  if (name !== '') metadata.set('exception', name)
  for (const [key, value] of Object.entries(trailers)) metadata.set(key, value)
  return { code, details: name === '' ? 'a fault on purpose' : name, metadata }
}
