export function versitygw(): Promise<string>
export function kafkaJars(version?: string): Promise<string>
export function installedKafka(version?: string): string | null
export function hiveJars(): Promise<string>
export function installedHive(): string | null
