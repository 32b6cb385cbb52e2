import { TrunklineError } from '../../core/errors.ts'
import { type OptionNames, optionNames, refuseUnknown } from '../../core/option-names.ts'

/** Whom a value is for; nothing given means everybody. Where several fit an instance, the most exact one holds. */
export interface SettingScope {
  readonly service?: string
  /** Exact version of a service; needs `service`. */
  readonly version?: string
  readonly zone?: string
  /** Id of one running instance. */
  readonly instance?: string
}

/** Who reads settings. */
export interface SettingReader {
  readonly service: string
  readonly version: string
  readonly zone: string | undefined
  readonly instance: string
}

const NAMES: OptionNames = optionNames<SettingScope>({ service: true, version: true, zone: true, instance: true })
const TEXT_MAX = 100
/** One instance is more exact than a version, that than a zone, that than a service; two of them together more than one. */
const WEIGHTS = { instance: 8, version: 4, zone: 2, service: 1 } as const

/** A scope without what was left out, names in a fixed order. @throws `core.option_invalid`, `core.option_unknown`. */
export function checkedScope(scope: SettingScope): SettingScope {
  refuseUnknown('scope of a setting', scope, NAMES, 'an object such as { service: "pricing" }')
  const { service, version, zone, instance } = scope
  for (const [name, value] of Object.entries({ service, version, zone, instance })) {
    if (value === undefined || (typeof value === 'string' && value.length > 0 && value.length <= TEXT_MAX)) continue
    throw new TrunklineError('core.option_invalid', { option: `scope.${name}`, expected: `a text of 1 to ${TEXT_MAX} characters`, actual: typeof value })
  }
  if (version !== undefined && service === undefined) throw new TrunklineError('core.option_invalid', { option: 'scope.version', expected: 'together with scope.service', actual: 'alone' })
  return {
    ...(service === undefined ? {} : { service }), ...(version === undefined ? {} : { version }), ...(zone === undefined ? {} : { zone }), ...(instance === undefined ? {} : { instance }),
  }
}

/** The same text for the same scope. */
export function scopeKey({ service, version, zone, instance }: SettingScope): string {
  return JSON.stringify([service ?? null, version ?? null, zone ?? null, instance ?? null])
}

/** How exactly a scope fits a reader: the greater the more; undefined where it does not. */
export function fit({ service, version, zone, instance }: SettingScope, reader: SettingReader): number | undefined {
  if (service !== undefined && service !== reader.service) return undefined
  if (version !== undefined && version !== reader.version) return undefined
  if (zone !== undefined && zone !== reader.zone) return undefined
  if (instance !== undefined && instance !== reader.instance) return undefined
  return (instance === undefined ? 0 : WEIGHTS.instance) + (version === undefined ? 0 : WEIGHTS.version) + (zone === undefined ? 0 : WEIGHTS.zone) + (service === undefined ? 0 : WEIGHTS.service)
}
