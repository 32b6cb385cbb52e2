import { TrunklineError } from '../core/errors.ts'
import { DEAD_LETTER_PAGE_MAX } from '../core/limits.ts'
import { type OptionNames, optionNames, refuseUnknown } from '../core/option-names.ts'
import type { DeadLetter, DeadLetterFilter, DeadLetterPage, DeadLetterPlane, Transport } from './port.ts'
import { wholeInRange } from './retry-policy.ts'

/** Which page of a listing. */
export interface DeadLetterPageOptions {
  /** Dead letters on the page, 1 to 500. Default 100. */
  readonly limit?: number
  /** `next` of the page before. */
  readonly after?: string
}

const FILTER: OptionNames = optionNames<DeadLetterFilter>({ group: true, type: true, reason: true })
const PAGE: OptionNames = optionNames<DeadLetterPageOptions>({ limit: true, after: true })
const PAGE_DEFAULT = 100

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
   * @throws `core.option_unknown` for a part that no filter has, `core.option_invalid` for a limit out of range.
   */
  async list(filter: DeadLetterFilter = {}, options: DeadLetterPageOptions = {}): Promise<DeadLetterPage> {
    checkFilter(filter)
    refuseUnknown('the page of deadLetters.list', options, PAGE)
    const limit = wholeInRange('limit of deadLetters.list', options.limit ?? PAGE_DEFAULT, 1, DEAD_LETTER_PAGE_MAX)
    return await this.#plane().list(filter, { limit, after: options.after })
  }

  /** Everything that fits the filter, oldest first, page by page. */
  async *all(filter: DeadLetterFilter = {}): AsyncGenerator<DeadLetter> {
    checkFilter(filter)
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
  async redriveAll(filter: DeadLetterFilter): Promise<number> {
    checkFilter(filter)
    return await this.#each(filter, (id) => this.#plane().redrive(id))
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
    const ids: string[] = []
    for await (const { id } of this.all(filter)) ids.push(id)
    let count = 0
    for (const id of ids) if (await act(id)) count++
    return count
  }
}

/** A misspelt part, or one that an unset variable left undefined, would widen the filter in silence. */
function checkFilter(filter: DeadLetterFilter): void {
  refuseUnknown('the filter of dead letters', filter, FILTER)
  for (const [name, value] of Object.entries(filter)) {
    if (typeof value !== 'string') throw badFilter(`a text as ${name}`, `of the type ${typeof value}`)
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
