import { TrunklineError } from '../core/errors.ts'
import { DEAD_LETTER_PAGE_MAX } from '../core/limits.ts'
import type { DeadLetter, DeadLetterFilter, DeadLetterPage, DeadLetterPlane, Transport } from './port.ts'

/** Dead letters of everything that the bus' transport carries, of all services. */
export class DeadLetters {
  readonly #plane: () => DeadLetterPlane

  /** @param plane gives the plane; it throws where the bus is not running or the transport has none. */
  constructor(plane: () => DeadLetterPlane) {
    this.#plane = plane
  }

  /**
   * One page, oldest first. Listing changes nothing.
   *
   * @param options.limit 1 to 500; default 100.
   * @param options.after `next` of the page before.
   */
  list(filter: DeadLetterFilter = {}, options: { readonly limit?: number; readonly after?: string } = {}): Promise<DeadLetterPage> {
    checkFilter(filter)
    const limit = Math.min(DEAD_LETTER_PAGE_MAX, Math.max(1, Math.trunc(options.limit ?? 100)))
    return this.#plane().list(filter, { limit, after: options.after })
  }

  /** Everything that fits the filter, oldest first, page by page. */
  async *all(filter: DeadLetterFilter = {}): AsyncGenerator<DeadLetter> {
    let after: string | undefined
    do {
      const page: DeadLetterPage = await this.#plane().list(filter, { limit: DEAD_LETTER_PAGE_MAX, after })
      yield* page.items
      after = page.next
    } while (after !== undefined)
  }

  /**
   * One dead letter with its original bytes.
   *
   * @throws `bus.dead_letter_missing`.
   */
  async read(id: string): Promise<DeadLetter> {
    const found = await this.#plane().read(id)
    if (found === undefined) throw new TrunklineError('bus.dead_letter_missing', { id: id.slice(0, 200) })
    return found
  }

  /**
   * Delivers one again to its group, from attempt 1, with the same message id.
   *
   * @throws `bus.dead_letter_missing`.
   */
  async redrive(id: string): Promise<void> {
    if (!(await this.#plane().redrive(id))) throw new TrunklineError('bus.dead_letter_missing', { id: id.slice(0, 200) })
  }

  /** Delivers everything that fits the filter again, oldest first. @returns how many. */
  redriveAll(filter: DeadLetterFilter): Promise<number> {
    return this.#each(filter, (id) => this.#plane().redrive(id))
  }

  /**
   * Gives one up for good; later messages of its key go on.
   *
   * @throws `bus.dead_letter_missing`.
   */
  async skip(id: string): Promise<void> {
    if (!(await this.#plane().remove(id))) throw new TrunklineError('bus.dead_letter_missing', { id: id.slice(0, 200) })
  }

  /**
   * Gives everything up that fits the filter, for good.
   *
   * @returns how many.
   * @throws `core.option_invalid` for a filter without any part: everything is never purged by mistake.
   */
  async purge(filter: DeadLetterFilter): Promise<number> {
    checkFilter(filter)
    if (Object.keys(filter).length === 0) throw badFilter('at least one of group, type and reason', '{}')
    return await this.#each(filter, (id) => this.#plane().remove(id))
  }

  /** Lists first and acts then, so that what fails again while this runs is not taken twice. */
  async #each(filter: DeadLetterFilter, act: (id: string) => Promise<boolean>): Promise<number> {
    checkFilter(filter)
    const ids: string[] = []
    for await (const { id } of this.all(filter)) ids.push(id)
    let count = 0
    for (const id of ids) if (await act(id)) count++
    return count
  }
}

/** A misspelt part would widen the filter in silence. */
function checkFilter(filter: DeadLetterFilter): void {
  for (const [name, value] of Object.entries(filter)) {
    if (name !== 'group' && name !== 'type' && name !== 'reason') throw badFilter('the parts group, type and reason', name)
    if (typeof value !== 'string') throw badFilter(`a string as ${name}`, typeof value)
  }
}

function badFilter(expected: string, actual: string): TrunklineError {
  return new TrunklineError('core.option_invalid', { option: 'filter', expected, actual: actual.slice(0, 100) })
}

/** The dead letters of a transport. @throws `bus.unsupported` where it has none. */
export function deadLetterPlane(transport: Transport): DeadLetterPlane {
  if (transport.deadLetters !== undefined) return transport.deadLetters
  throw new TrunklineError('bus.unsupported', { adapter: transport.name, capability: 'canManageDeadLetters', needed: 'bus.deadLetters' })
}
