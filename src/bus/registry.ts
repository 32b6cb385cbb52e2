import { type Contract, type ContractTypes, type DefinedContract, defined } from '../contract/contract.ts'
import { TrunklineError } from '../core/errors.ts'

/** The contracts that one bus knows. A map, so that a type called `constructor.x` is only a key. */
export class ContractRegistry {
  readonly #contracts = new Map<string, DefinedContract<string, ContractTypes>>()
  readonly #sent = new Set<string>()

  /**
   * Remembers a contract and gives its working side. The same value again costs one look-up.
   *
   * @throws `contract.definition_conflict` when another definition of the same type differs.
   */
  add(contract: Contract): DefinedContract<string, ContractTypes> {
    // A caller without types may give nothing at all; `defined` says what is wrong with it.
    const known = this.#contracts.get(contract?.type)
    if (known !== undefined && known === contract) return known
    const added = defined(contract)
    if (known === undefined) {
      this.#contracts.set(added.type, added)
      return added
    }
    if (known.kind !== added.kind || known.fingerprint !== added.fingerprint) {
      throw new TrunklineError('contract.definition_conflict', {
        type: added.type,
        problem: `it is defined twice: as ${describe(known)} and as ${describe(added)}`,
      })
    }
    return added
  }

  /** As `add`, for a contract that this bus sends. */
  addSent(contract: Contract): DefinedContract<string, ContractTypes> {
    const known = this.add(contract)
    this.#sent.add(known.type)
    return known
  }

  /** Those that were given to `addSent`, by type. */
  sent(): readonly DefinedContract<string, ContractTypes>[] {
    return this.all().filter((contract) => this.#sent.has(contract.type))
  }

  /** The contract of a type, or undefined. */
  get(type: string): DefinedContract<string, ContractTypes> | undefined {
    return this.#contracts.get(type)
  }

  /** All contracts, by type. */
  all(): readonly DefinedContract<string, ContractTypes>[] {
    return [...this.#contracts.values()].toSorted((left, right) => (left.type < right.type ? -1 : 1))
  }
}

function describe(contract: Contract): string {
  return `${contract.kind} version ${contract.version} with fingerprint ${contract.fingerprint}`
}
