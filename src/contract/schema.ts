/**
 * The part of Standard Schema v1 (https://standardschema.dev) that the library uses. zod 4, valibot,
 * arktype and others satisfy it; nothing here imports any of them.
 */
export interface Schema<I = unknown, O = I> {
  readonly '~standard': SchemaProps<I, O>
}

/** What a Standard Schema exposes. */
export interface SchemaProps<I, O> {
  readonly version: 1
  readonly vendor: string
  readonly validate: (value: unknown) => SchemaResult<O> | Promise<SchemaResult<O>>
  readonly types?: { readonly input: I; readonly output: O } | undefined
  /** Standard JSON Schema, where the library offers it. */
  readonly jsonSchema?:
    | {
        readonly input: (options: { readonly target: 'draft-2020-12' }) => Record<string, unknown>
        readonly output: (options: { readonly target: 'draft-2020-12' }) => Record<string, unknown>
      }
    | undefined
}

/** The value as the schema gives it, or what was wrong with it. */
export type SchemaResult<O> =
  | { readonly value: O; readonly issues?: undefined }
  | { readonly issues: readonly SchemaIssue[] }

/** One problem found by a schema. */
export interface SchemaIssue {
  readonly message: string
  readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined
}

/** The type a schema accepts. */
export type InputOf<S extends Schema> = NonNullable<S['~standard']['types']>['input']

/** The type a schema gives back. */
export type OutputOf<S extends Schema> = NonNullable<S['~standard']['types']>['output']
