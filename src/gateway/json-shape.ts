/** A JSON Schema as the contracts tell it; undefined where the schema library cannot say it. */
export type JsonSchema = Readonly<Record<string, unknown>>

/** What can be written as text in a path or a query string. */
export type TextKind = 'string' | 'number' | 'integer' | 'boolean' | 'null'

const TEXT_KINDS: readonly string[] = ['string', 'number', 'integer', 'boolean', 'null']
const DEPTH_MAX = 16

/** True for a plain object. */
export function isRecord(value: unknown): value is JsonSchema {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** The schema behind references into its own document. */
export function resolved(schema: unknown, root: JsonSchema): JsonSchema | undefined {
  let current = schema
  for (let depth = 0; depth < DEPTH_MAX; depth++) {
    if (!isRecord(current)) return undefined
    const reference = current['$ref']
    if (typeof reference !== 'string') return current
    current = pointed(root, reference)
  }
  return undefined
}

function pointed(root: JsonSchema, reference: string): unknown {
  if (!reference.startsWith('#')) return undefined
  let current: unknown = root
  for (const part of reference.slice(1).split('/').slice(1)) {
    const name = part.replaceAll('~1', '/').replaceAll('~0', '~')
    current = isRecord(current) && Object.hasOwn(current, name) ? current[name] : undefined
  }
  return current
}

/** The schemas of the fields of an object, by name; undefined where it is no object of known fields. */
export function fieldsOf(schema: JsonSchema | undefined): ReadonlyMap<string, JsonSchema> | undefined {
  const object = schema === undefined ? undefined : resolved(schema, schema)
  if (schema === undefined || object?.['type'] !== 'object') return undefined
  const properties = object['properties']
  if (properties === undefined) return new Map()
  if (!isRecord(properties)) return undefined
  return new Map(Object.entries(properties).map(([name, field]) => [name, resolved(field, schema) ?? {}]))
}

/** Names of the fields that have to be there. */
export function requiredFields(schema: JsonSchema | undefined): readonly string[] {
  const required = schema === undefined ? undefined : resolved(schema, schema)?.['required']
  return Array.isArray(required) ? required.filter((name): name is string => typeof name === 'string') : []
}

/** The kinds of text that a schema takes; undefined where it takes anything else as well, or says nothing. */
export function textKinds(schema: JsonSchema, root: JsonSchema): readonly TextKind[] | undefined {
  const choices = schema['anyOf'] ?? schema['oneOf']
  if (Array.isArray(choices)) {
    const kinds = choices.map((choice) => textKinds(resolved(choice, root) ?? {}, root))
    return kinds.every((some) => some !== undefined) ? [...new Set(kinds.flat())] : undefined
  }
  if ('const' in schema) return valueKinds([schema['const']])
  if (Array.isArray(schema['enum'])) return valueKinds(schema['enum'])
  const types: readonly unknown[] = Array.isArray(schema['type']) ? schema['type'] : [schema['type']]
  return types.every(isTextKind) ? types : undefined
}

function isTextKind(type: unknown): type is TextKind {
  return typeof type === 'string' && TEXT_KINDS.includes(type)
}

function valueKinds(values: readonly unknown[]): readonly TextKind[] | undefined {
  const kinds: readonly string[] = [...new Set(values.map((value) => (value === null ? 'null' : typeof value)))]
  return kinds.every(isTextKind) ? kinds : undefined
}

/** The schema of the items of a list of texts; undefined for everything else. */
export function itemsOf(schema: JsonSchema, root: JsonSchema): JsonSchema | undefined {
  if (schema['type'] !== 'array') return undefined
  const items = resolved(schema['items'], root)
  return items !== undefined && textKinds(items, root) !== undefined ? items : undefined
}

/** True where every field can be a parameter of a query string: texts, numbers, booleans, and lists of them. */
export function isFlat(schema: JsonSchema | undefined): boolean {
  const fields = fieldsOf(schema)
  if (schema === undefined || fields === undefined) return false
  return [...fields.values()].every((field) => textKinds(field, schema) !== undefined || itemsOf(field, schema) !== undefined)
}
