import { createHash } from 'node:crypto'
import type { Schema } from './schema.ts'

/** Words of JSON Schema that explain but do not constrain; they do not change what fits. */
const ANNOTATIONS: ReadonlySet<string> = new Set(['$schema', '$id', '$comment', 'title', 'description', 'examples', 'deprecated'])
/** Arrays of JSON Schema whose order means nothing. */
const SETS: ReadonlySet<string> = new Set(['required', 'enum', 'type'])

/**
 * The JSON Schema (draft 2020-12) of what a schema accepts, or undefined where its library offers
 * none or the schema has parts that JSON Schema cannot say.
 */
export function jsonSchemaOf(schema: Schema): Record<string, unknown> | undefined {
  try {
    return schema['~standard'].jsonSchema?.input({ target: 'draft-2020-12' })
  } catch {
    return undefined
  }
}

/** A stable name for a schema: its normal form, or its vendor where it cannot be shown. */
export function schemaShape(schema: Schema | undefined): unknown {
  if (schema === undefined) return null
  const shape = jsonSchemaOf(schema)
  return shape === undefined ? { opaque: schema['~standard'].vendor } : normal(shape, undefined)
}

/** SHA-256 over the normal form, as 32 hexadecimal digits. The same on every machine. */
export function fingerprintOf(value: unknown): string {
  return createHash('sha256').update(JSON.stringify(normal(value, undefined))).digest('hex').slice(0, 32)
}

/** Words of JSON Schema whose content is a value of the user's, not a schema. */
const VALUES: ReadonlySet<string> = new Set(['const', 'default', 'enum'])
/** Stands for the name of everything inside such a value; it is no set, so order counts there. */
const VALUE = 'const'

/** Sorted keys, sorted sets, no annotations. Inside `properties` every name counts, whatever it is called. */
function normal(value: unknown, parent: string | undefined): unknown {
  const isValue = parent !== undefined && VALUES.has(parent)
  if (Array.isArray(value)) {
    // Below a value of the user's everything is one, so the name is handed down.
    const items = value.map((item) => normal(item, isValue ? VALUE : undefined))
    return parent !== undefined && SETS.has(parent) ? items.toSorted(byText) : items
  }
  if (typeof value !== 'object' || value === null) return value
  const isNameMap = parent === 'properties' || parent === '$defs' || parent === 'patternProperties'
  return Object.fromEntries(
    Object.entries(value)
      .filter(([name, item]) => item !== undefined && (isNameMap || isValue || !ANNOTATIONS.has(name)))
      .toSorted(([left], [right]) => byText(left, right))
      .map(([name, item]) => [name, normal(item, isNameMap ? undefined : isValue ? VALUE : name)]),
  )
}

function byText(left: unknown, right: unknown): number {
  const [a, b] = [JSON.stringify(left), JSON.stringify(right)]
  return a < b ? -1 : a > b ? 1 : 0
}
