import { isTypeName } from '../../contract/names.ts'
import type { InputOf, OutputOf, Schema } from '../../contract/schema.ts'
import { validated, validatorOf } from '../../contract/validate.ts'
import { TrunklineError, errorText, isTrunklineError } from '../../core/errors.ts'
import { type OptionNames, optionNames, refuseUnknown } from '../../core/option-names.ts'

/** What `setting` takes. */
export interface SettingDefinition<S extends Schema> {
  /** zod 4, or any Standard Schema with a synchronous check. Values travel and are stored as JSON. */
  readonly schema: S
  /** What holds where nothing was set. */
  readonly default: InputOf<S>
  readonly description?: string
}

const NAMES: OptionNames = optionNames<SettingDefinition<Schema>>({ schema: true, default: true, description: true })

/** One piece of configuration: its name, its type, its default. Define it once and import it where it is used. */
export class Setting<T, I = T> {
  readonly name: string
  readonly description: string | undefined
  /** The default as the schema gives it. */
  readonly initial: T
  /** Carries the types; never set. */
  declare readonly '~types'?: { readonly input: I; readonly output: T }
  readonly #check: (value: unknown) => T

  constructor(name: string, description: string | undefined, initial: unknown, check: (value: unknown) => T) {
    this.name = name
    this.description = description
    this.#check = check
    this.initial = check(initial)
  }

  /** The value as the schema gives it. @throws `discovery.setting_invalid`. */
  checked(value: unknown): T {
    return this.#check(value)
  }
}

/** The type that readers of a setting get. */
export type SettingValue<C extends Setting<unknown, unknown>> = NonNullable<C['~types']>['output']

/**
 * Defines a setting: `setting('pricing.policy', { schema, default })`.
 *
 * @param name `context.kebab-name`, as of a contract.
 * @throws `core.option_invalid` for a name outside the grammar or a schema that is none, `core.option_unknown`, `discovery.setting_invalid` for a default
 *   that does not fit the schema.
 */
export function setting<S extends Schema>(name: string, definition: SettingDefinition<S>): Setting<OutputOf<S>, InputOf<S>> {
  if (!isTypeName(name)) throw new TrunklineError('core.option_invalid', { option: 'name of a setting', expected: 'context.kebab-name', actual: errorText(name).slice(0, 200) })
  refuseUnknown(`setting(${JSON.stringify(name)})`, definition, NAMES, 'an object such as { schema, default }')
  const { schema, description } = definition
  // A caller without types may have given anything.
  const props: unknown = (schema as { readonly '~standard'?: unknown } | undefined)?.['~standard']
  if (typeof props !== 'object' || props === null) throw new TrunklineError('core.option_invalid', { option: `schema of ${name}`, expected: 'a Standard Schema (zod 4, valibot, arktype, …)', actual: typeof schema })
  const validate = validatorOf(name, schema)
  return new Setting<OutputOf<S>, InputOf<S>>(name, description, definition.default, (value) => {
    try {
      return validated(name, 'publish', validate, value)
    } catch (cause) {
      throw new TrunklineError('discovery.setting_invalid', { setting: name, problem: problemOf(cause) }, { cause })
    }
  })
}

function problemOf(cause: unknown): string {
  if (!isTrunklineError(cause, 'contract.payload_invalid')) return errorText(cause).slice(0, 500)
  return cause.details.issues.map(({ path, rule }) => (path === '' ? rule : `${path}: ${rule}`)).join('; ').slice(0, 500)
}
