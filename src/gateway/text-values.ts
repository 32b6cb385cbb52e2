import { TrunklineError } from '../core/errors.ts'
import { type JsonSchema, type TextKind, itemsOf, textKinds } from './json-shape.ts'

const NUMBER = /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?$/

/**
 * A text of a path or query as the type that its schema asks for. What does not fit stays text, so that the schema itself
 * says what is wrong with it.
 */
export function valueOfText(text: string, kinds: readonly TextKind[] | undefined): string | number | boolean {
  if (kinds === undefined || kinds.length === 0) return text
  if (kinds.includes('boolean') && (text === 'true' || text === 'false')) return text === 'true'
  if ((kinds.includes('number') || kinds.includes('integer')) && NUMBER.test(text)) return numberOf(text) ?? text
  return text
}

/** Undefined for a number that would change when it becomes a double. */
function numberOf(text: string): number | undefined {
  const value = Number(text)
  const isWhole = /^-?\d+$/.test(text)
  return Number.isFinite(value) && (!isWhole || Number.isSafeInteger(value)) ? value : undefined
}

/**
 * The value of one parameter out of all its texts.
 *
 * @throws `gateway.request_malformed` for a parameter that came more than once and is no list.
 */
export function valueOfTexts(name: string, texts: readonly string[], field: JsonSchema | undefined, root: JsonSchema | undefined): unknown {
  const [first = ''] = texts
  if (field === undefined || root === undefined) return texts.length === 1 ? first : texts
  const items = itemsOf(field, root)
  if (items !== undefined) return texts.map((text) => valueOfText(text, textKinds(items, root)))
  if (texts.length > 1) throw new TrunklineError('gateway.request_malformed', { part: 'query', problem: `the parameter ${JSON.stringify(name.slice(0, 60))} is given ${texts.length} times` })
  return valueOfText(first, textKinds(field, root))
}
