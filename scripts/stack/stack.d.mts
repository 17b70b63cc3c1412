export type Part = 'kafka' | 'registry' | 'postgres' | 'mariadb' | 's3' | 'azure' | 'gcs' | 'gcs-json' | 'connect'
export function up(names?: Part[]): Promise<Part[]>
export function down(names?: Part[]): Promise<Part[]>
export function reset(): Promise<void>
